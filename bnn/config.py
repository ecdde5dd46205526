"""Typed configuration: dataclasses, TOML files and `--set key=value`, for every task alike.

    config = load(TrainConfig, "preset.toml", ["batch_size=32", "model.channels=96"])

An unknown key or a value of the wrong type is a ConfigError that names it and lists what is valid.
"""

import dataclasses
import tomllib
import typing
from pathlib import Path

T = typing.TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the key."""


def load(cls: type[T], path: str | Path, overrides: typing.Iterable[str] = ()) -> T:
    """An instance of the dataclass `cls` from a TOML file, then `key=value` strings; dots reach into nested ones."""
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals:
            raise ConfigError(f"--set {item}: write key=value")
        *parents, leaf = key.strip().split(".")
        table = values
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise ConfigError(f"--set {item}: {parent} is a single value, not a table")
        table[leaf] = _value(text)
    return build(cls, values)


def build(cls: type[T], values: dict, prefix: str = "") -> T:
    """The dataclass from nested dictionaries, checked key by key."""
    hints = typing.get_type_hints(cls)
    out = {}
    for key, value in values.items():
        if key not in hints:
            raise ConfigError(f"unknown key {prefix}{key}; valid are: {', '.join(prefix + k for k in hints)}")
        if dataclasses.is_dataclass(hints[key]):
            if not isinstance(value, dict):
                raise ConfigError(f"{prefix}{key} is a table; set one of its keys, such as {prefix}{key}.NAME=VALUE")
            out[key] = build(hints[key], value, f"{prefix}{key}.")
        else:
            out[key] = _checked(hints[key], value, prefix + key)
    try:
        return cls(**out)
    except TypeError as error:
        raise ConfigError(f"configuration is incomplete: {error}") from None


def check_ranges(config, ranges: dict[str, tuple[float, float]], prefix: str = "") -> None:
    """Raise ConfigError for a number of `config` outside its (least, greatest), ends included."""
    for key, (low, high) in ranges.items():
        value = getattr(config, key)
        if not low <= value <= high:  # also not a number
            raise ConfigError(f"{prefix}{key} is {value}, allowed are {low:g} to {high:g}")


def to_dict(config) -> dict:
    """Nested plain values, for a run folder's config.json."""
    return dataclasses.asdict(config)


def _value(text: str):
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def _checked(hint, value, key: str):
    origin = typing.get_origin(hint)
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{key} is {value!r}, a list is needed, such as [1, 2]")
        inner = typing.get_args(hint)[0]
        return tuple(_checked(inner, v, key) for v in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{key} is {value!r}, a value of type {hint.__name__} is needed")
    return value
