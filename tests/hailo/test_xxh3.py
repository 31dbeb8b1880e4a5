import time

import numpy as np
import pytest

from fer_hailo.formats.xxh3 import xxh3_64

# xxHash 0.8, cli/xsum_sanity_check.c: XXH3_64bits of the first bytes of its test buffer, seed 0.
PUBLISHED = {
    0: 0x2D06800538D394C2, 1: 0xC44BDFF4074EECDB, 6: 0x27B56A84CD2D7325, 12: 0xA713DAF0DFBB77E7,
    24: 0xA3FE70BF9D3510EB,
    48: 0x397DA259ECBA1F11, 80: 0xBCDEFBBB2C47C90A, 195: 0xCD94217EE362EC3A, 403: 0xCDEB804D65C6DEA4,
    512: 0x617E49599013CB6B,
    2048: 0xDD59E2C3A5F038E0, 2099: 0xC6B9D9B3FC9AC765, 2240: 0x6E73A90539CF2948, 2367: 0xCB37AEB9E5D361ED,
}  # fmt: skip

# Made from the same buffer with the Python package xxhash 4.1.0 (library 0.8.4), which also gives the numbers
# above: both sides of each length at which the method changes, of a stripe, of a block, and of the 524,288
# bytes that this implementation takes at a time.
MADE = {
    2: 0x7A9978044CB8A8BB, 3: 0x54247382A8D6B94D, 4: 0xE5DC74BC51848A51, 5: 0xE4243F00720306BB,
    7: 0x9941E0007F555E50,
    8: 0x24CCC9ACAA9F65E4, 9: 0x14D5001C15DD3F2B, 10: 0x1C117F233FBC3C14, 15: 0x45556D4D6E1798BC,
    16: 0x981B17D36C7498C9,
    17: 0x796F5ACD3A60F862, 31: 0x5D516692CA764C50, 32: 0x9FEADDBDBF57EED3, 33: 0xABFB2D081B400A10,
    64: 0x9CB48487720EC49D,
    65: 0xFD81AAC4BEBC3883, 96: 0x935A769A7F94776F, 97: 0xCA4CA268FD3C3A6C, 127: 0x2408ED71323D6096,
    128: 0xFCFF24126754D861,
    129: 0x98F1B0A679A2CA29, 143: 0x7A7813693F1F4EDB, 144: 0xC440D47E5F03FE58, 145: 0x6B0A35A6CB2DA39D,
    239: 0x16CE2B9D3B28805D,
    240: 0x81C3C2B67F568CCF, 241: 0xC5A639ECD2030E5E, 255: 0xE98F979F4ED8A197, 256: 0x55DE574AD89D0AC5,
    257: 0xB17FD5A8AE75BB0B,
    320: 0x75620D350FF5C694, 1023: 0x87A8F7B2F2E22496, 1024: 0xDD85C9B5C1109C5C, 1025: 0xD870C0FA13211C6A,
    1088: 0xCC1450EA6B52A8F4,
    1089: 0xEF727B2EFFC4CC8C, 2049: 0xD3AFA4329779B921, 524288: 0xFC15C2F516BA7BC3,
    524289: 0x63AFB3FCA6957CEF,
    525312: 0xDF553686D0AC5006, 525313: 0x4361B6F87A16EB3C, 1048576: 0x7ADE52BBFBD697BA,
    3145727: 0x9FBAC61675505C00,
}  # fmt: skip


def sanity_buffer(size: int) -> bytes:
    """xxHash's test buffer: the top bytes of 2654435761 * 11400714785074694797^i modulo 2^64."""
    factors = np.full(size, 11400714785074694797, np.uint64)
    factors[0] = 2654435761
    return (np.cumprod(factors, dtype=np.uint64) >> np.uint64(56)).astype(np.uint8).tobytes()


BUFFER = sanity_buffer(max(MADE))


@pytest.mark.parametrize("size", sorted(PUBLISHED | MADE))
def test_vectors(size):
    assert f"{xxh3_64(BUFFER[:size]):016x}" == f"{(PUBLISHED | MADE)[size]:016x}"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [0, 12, 195, 2099])
def test_any_buffer_of_bytes_at_any_place(size):
    shifted = b"123" + BUFFER[:size]
    for data in (memoryview(shifted)[3:], bytearray(BUFFER[:size]), np.frombuffer(shifted, np.uint8)[3:]):
        assert xxh3_64(data) == PUBLISHED[size]


def test_speed():
    start = time.perf_counter()
    xxh3_64(BUFFER)
    assert time.perf_counter() - start < 1  # 3 MB; measured: 0.01 s
