"""Little-endian integers in bytes. Signed ones up to 30 bits come without allocation on a board."""


def u16(b, i):
    return b[i] | b[i + 1] << 8


def i16(b, i):
    return b[i] | ((b[i + 1] ^ 128) - 128) << 8


def u32(b, i):
    return b[i] | b[i + 1] << 8 | b[i + 2] << 16 | b[i + 3] << 24


def i32(b, i):
    return b[i] | b[i + 1] << 8 | b[i + 2] << 16 | ((b[i + 3] ^ 128) - 128) << 24
