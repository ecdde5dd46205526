"""HTML by construction: every text is escaped unless it is Html already, and the page asks nothing of any network.

body = [tag("h1", run_name), tag("p", "Heard ", tag("b", label), class_="lead")]
write_atomically("report.html", document("Signwave: mine", body).encode())
"""

import base64
import hashlib
from collections.abc import Sequence
from html import escape


class Html(str):
    """Finished markup; anything else that goes into a tag is text."""


_VOID = {"meta", "br", "path", "rect", "line", "circle"}


def tag(element: str, /, *children: object, **attributes: object) -> Html:
    """One element. Children: Html, text, numbers, None (left out) or lists of them. Attributes: `class_` is class, `aria_label`
    is aria-label; None and False are left out, True stands alone."""
    shown = "".join(_attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    if element in _VOID:
        return Html(f"<{element}{shown}/>")
    return Html(f"<{element}{shown}>{join(children)}</{element}>")


def join(children: object) -> Html:
    """Children one behind the other."""
    if isinstance(children, list | tuple):
        return Html("".join(join(child) for child in children))
    if children is None:
        return Html("")
    return children if isinstance(children, Html) else Html(escape(str(children)))


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def table(caption: str, head: list[object], rows: list[list[object]], text_columns: int = 1, total: bool = False) -> Html:
    """A table that scrolls sideways where the screen is narrow: the first column names the row, numbers stand to the right.
    A cell may come as a finished th or td. `total`: the last row is the sum of the others."""

    def cell(i: int, content: object) -> Html:
        if isinstance(content, Html) and content.startswith(("<td", "<th")):
            return content
        return tag("th", content, scope="row") if i == 0 else tag("td", content, class_="t" if i < text_columns else None)

    def heading(i: int, content: object) -> Html:
        return content if isinstance(content, Html) else tag("th", content, scope="col", class_="t" if i < text_columns else None)

    lines = [
        tag("tr", [cell(i, c) for i, c in enumerate(row)], class_="total" if total and row is rows[-1] else None) for row in rows
    ]
    top = tag("thead", tag("tr", [heading(i, c) for i, c in enumerate(head)]))
    body = tag("table", tag("caption", tag("span", caption)), top, tag("tbody", lines))
    return tag("div", body, class_="scroll", role="region", aria_label=caption, tabindex="0")


def listing(parts: Sequence[str], most: int = 10) -> str:
    """Words as a sentence has them: a, b and c."""
    parts = [*parts[:most], f"{len(parts) - most} more"] if len(parts) > most else list(parts)
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1] if parts else "") if part)


def document(title: str, body: list[Html]) -> str:
    """The page. Its security policy lets in what stands in it and nothing else: no script but its own, no address at all."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; media-src data:; script-src 'sha256-{digest}'"
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(STYLE)),
    ]
    page = tag("html", tag("head", head), tag("body", body, tag("script", Html(SCRIPT))), lang="en")
    return f"<!doctype html>\n{page}\n"


# Without this script the page still works: the browser's own player, and commands to mark by hand.
SCRIPT = """
for (const audio of document.querySelectorAll("audio")) {
  const button = document.createElement("button");
  const show = (on) => { button.className = on ? "play on" : "play"; button.setAttribute("aria-pressed", on); };
  button.type = "button";
  button.setAttribute("aria-label", audio.getAttribute("aria-label"));
  audio.controls = false;
  audio.before(button);
  show(false);
  audio.onplay = () => show(true);
  audio.onpause = audio.onended = () => show(false);
  button.onclick = () => {
    const wanted = audio.paused;
    document.querySelectorAll("audio").forEach((other) => other.pause());
    if (wanted) { audio.currentTime = 0; audio.play(); }
  };
}
if (navigator.clipboard) for (const pre of document.querySelectorAll("pre.copy")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "clip";
  button.textContent = "Copy";
  button.onclick = async () => {
    await navigator.clipboard.writeText(pre.querySelector("code").textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
  pre.append(button);
}
"""

STYLE = """
:root{color-scheme:light dark;--paper:#fbfaf7;--panel:#fff;--ink:#1d2126;--soft:#5a616c;--line:#dfdcd4;--accent:#0a6670;
  --warm:#a8430c;--wash:#f1efe9;--s0:#0a6670;--s1:#a8430c;--s2:#6a3fa0;--s3:#5c6b00}
@media screen and (prefers-color-scheme:dark){
:root{--paper:#121417;--panel:#1a1d21;--ink:#e9e7e2;--soft:#a2a8b1;--line:#30353c;--accent:#62c6cd;--warm:#f2a06a;
  --wash:#1f2328;--s0:#62c6cd;--s1:#f2a06a;--s2:#bb9bf0;--s3:#c3cf5e}
}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
  font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
header,main,footer{max-width:70rem;margin:0 auto;padding:0 clamp(1rem,4vw,2.5rem)}
header{padding-top:2.2rem}
.mark{display:flex;align-items:center;gap:.6rem;color:var(--accent);font-weight:650;letter-spacing:.01em}
.mark svg{width:3.4rem;height:1.5rem}
h1{font-size:clamp(1.7rem,5vw,2.6rem);line-height:1.12;letter-spacing:-.022em;font-weight:680;margin:1.1rem 0 .5rem}
h2{font-size:1.32rem;letter-spacing:-.012em;font-weight:660;margin:0 0 .3rem;line-height:1.25}
h3{font-size:1rem;font-weight:650;margin:1.6rem 0 .3rem}
p{margin:.4rem 0;max-width:44rem}
.lead{font-size:1.08rem;color:var(--soft)}
.soft,figcaption,caption{color:var(--soft);font-size:.9rem}
a{color:var(--accent);text-underline-offset:.18em}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:3px}
nav{margin:1.2rem 0 0;display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;font-size:.92rem}
section{border-top:1px solid var(--line);margin-top:2.6rem;padding-top:1.7rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(12.4rem,1fr));gap:1px;background:var(--panel);
  border:1px solid var(--line);border-radius:10px;overflow:hidden;margin:1.7rem 0 0;padding:0}
.tile{box-shadow:0 0 0 1px var(--line);padding:1rem 1.15rem;margin:0}
.tile dt{color:var(--soft);font-size:.86rem}
.tile dd{margin:0}
.tile .big{font-size:1.75rem;font-weight:660;letter-spacing:-.02em;line-height:1.25;overflow-wrap:normal}
.tile:first-child .big{color:var(--accent)}
.tile small{font-size:.86rem;color:var(--soft);display:block;line-height:1.4}
.note{border-left:3px solid var(--warm);background:var(--panel);padding:.7rem 1rem;margin:1.4rem 0 0;
  border-radius:0 8px 8px 0}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1.4rem 2.4rem;align-items:start}
figure{margin:.9rem 0 0;min-width:0;max-width:36rem}
figure>svg{width:100%;height:auto;display:block}
svg text{font:11px system-ui,sans-serif;fill:var(--soft)}
svg .strong{fill:var(--ink);font-weight:600}
svg .grid{stroke:var(--line);stroke-width:1}
svg .band{fill:var(--wash)}
svg .curve{fill:none;stroke-width:1.8;stroke-linejoin:round}
svg .cross{fill:none;stroke-width:1.2}
svg .ghost{stroke:var(--soft);stroke-width:1.2;stroke-dasharray:4 3;fill:none}
.scroll{overflow-x:auto;margin:.8rem 0 0;max-width:100%;
  background:linear-gradient(to right,var(--paper) 30%,transparent) left/2rem 100%,linear-gradient(to left,var(--paper) 30%,
  transparent) right/2rem 100%,linear-gradient(to right,var(--line),transparent) left/.7rem 100%,linear-gradient(to left,
  var(--line),transparent) right/.7rem 100%;background-repeat:no-repeat;background-attachment:local,local,scroll,scroll}
table{border-collapse:collapse;font-size:.9rem;min-width:100%}
caption{text-align:left;padding:0 0 .4rem}
caption span{display:block;position:sticky;left:0;max-width:min(44rem,calc(100vw - 2rem))}
th,td{overflow-wrap:normal;padding:.34rem .7rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;
  font-weight:400}
thead th{color:var(--soft);font-size:.82rem;vertical-align:bottom;white-space:normal;line-height:1.25}
th:first-child,.t{text-align:left}
th:first-child{padding-left:0}
td:last-child,th:last-child{padding-right:.2rem}
tbody th{font-weight:560}
tr.total>*{font-weight:640;border-bottom:0}
td.cost{background:color-mix(in srgb,var(--accent) calc(var(--p)*.7%),transparent)}
.span{position:relative;display:block;height:1.1rem;min-width:9rem;
  background:linear-gradient(var(--line),var(--line)) center/100% 1px no-repeat}
.span i{position:absolute;top:calc(50% - 3px);height:6px;border-radius:3px;
  background:color-mix(in srgb,var(--accent) 38%,transparent);left:calc(var(--a)*1%);width:calc((var(--b) - var(--a))*1%)}
.span b{position:absolute;left:calc(var(--m)*1%);top:calc(50% - 5px);width:10px;height:10px;margin-left:-5px;
  border-radius:50%;background:var(--accent);border:2px solid var(--paper)}
td.wide{width:45%;padding-right:1rem}
.matrix table{min-width:0;font-size:.82rem}
.matrix th,.matrix td{border:0;padding:.16rem .2rem;text-align:center;white-space:nowrap}
.matrix td{min-width:2rem;height:2.1rem;border:1px solid var(--paper);background:var(--wash)}
.matrix thead th{height:6.2rem;padding:.2rem 0}
.matrix thead th span{writing-mode:vertical-rl;transform:rotate(180deg);max-height:6rem;overflow:hidden;
  text-overflow:ellipsis}
.matrix tbody th{text-align:right;position:sticky;left:0;background:var(--paper);padding:0 .6rem 0 0;max-width:9rem;
  overflow:hidden;text-overflow:ellipsis}
.matrix .hit{background:color-mix(in srgb,var(--accent) calc(var(--p)*1%),var(--wash))}
.matrix .miss{background:color-mix(in srgb,var(--warm) calc(var(--p)*1%),var(--wash))}
.matrix .full{color:var(--paper);font-weight:600}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,25rem),1fr));gap:.8rem;list-style:none;
  margin:1rem 0 0;padding:0}
.card{display:grid;align-content:start;grid-template-columns:auto 1fr;gap:.1rem .9rem;align-items:center;
  background:var(--panel);border:1px solid var(--line);border-radius:10px;padding:.75rem .9rem;min-width:0}
.card .play{grid-row:1/3}
.card audio{grid-column:1/-1;width:100%}
.card p{margin:0;line-height:1.35}
.card svg{width:100%;height:2rem;display:block;color:var(--accent);grid-column:2}
.card .soft{grid-column:1/-1;font-size:.82rem;margin-top:.3rem}
.heard{color:var(--warm)}
.keys span{white-space:nowrap;margin-right:1.1rem}
.keys svg{width:1.7rem;height:.7rem;margin-right:.4rem;vertical-align:middle}
button{font:inherit;color:inherit;cursor:pointer}
.play{width:2.9rem;height:2.9rem;border-radius:50%;border:0;background:var(--accent);position:relative}
.play::after{content:"";position:absolute;left:1.12rem;top:.85rem;border-style:solid;border-width:.6rem 0 .6rem .95rem;
  border-color:transparent transparent transparent var(--paper)}
.play.on::after{left:.95rem;top:.95rem;width:1rem;height:1rem;border:0;background:var(--paper);border-radius:2px}
dl.facts{display:grid;grid-template-columns:minmax(6rem,auto) 1fr;gap:.3rem 1.2rem;margin:.9rem 0 0;font-size:.94rem}
dl.facts dt{color:var(--soft)}
dl.facts dd{margin:0}
summary{cursor:pointer;color:var(--accent);margin-top:1rem;width:fit-content}
ol.steps{padding-left:1.3rem;margin:.8rem 0 0}
ol.steps li{margin:.7rem 0;min-width:0}
ol.steps li::marker{color:var(--soft)}
pre{position:relative;margin:.3rem 0;background:var(--wash);border-radius:8px;padding:.7rem 5rem .7rem .9rem;overflow-x:auto;
  font:.86rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:break-word}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
:not(pre)>code{font-size:.9em}
.clip{position:absolute;right:.5rem;top:.45rem;border:1px solid var(--line);background:var(--panel);border-radius:6px;
  padding:.1rem .6rem;font:.8rem/1.5 system-ui,sans-serif;min-width:4rem}
footer{margin-top:3rem;padding-bottom:3rem;color:var(--soft);font-size:.9rem}
@media (max-width:36rem){
dl.facts{grid-template-columns:1fr;gap:0}
dl.facts dd{margin-bottom:.6rem}
th,td{padding:.34rem .45rem}
.span{min-width:7rem}
}
@media print{
body{font-size:10.5pt;background:#fff}
nav,.play,.clip,audio,summary{display:none!important}
header,main,footer{max-width:none;padding:0}
section{margin-top:1.4rem;padding-top:1rem}
h2,h3{break-after:avoid}
.tile,.card,.matrix,figure,li,tr,pre{break-inside:avoid}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
.scroll{overflow:visible;background:none}
table{font-size:8.5pt}
th,td{padding:.2rem .35rem}
.matrix td{min-width:0;height:1.5rem}
.span{min-width:4rem}
.tiles{grid-template-columns:repeat(4,1fr)}
.tile .big{font-size:1.25rem}
.pair,.cards{grid-template-columns:1fr 1fr;gap:.8rem 1.2rem}
pre{padding-right:.9rem}
@page{margin:14mm}
}
"""
