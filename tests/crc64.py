"""CRC-64/NVME of all elements of an array, row-major and little-endian."""
import numpy

TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x9A6C9329AC4BC9B5 if byte & 1 else 0)
    TABLE.append(byte)


def crc(array):
    state = 2**64 - 1
    for byte in numpy.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes():
        state = TABLE[(state ^ byte) & 255] ^ state >> 8
    return f"{state ^ (2**64 - 1):016x}"


assert crc(numpy.frombuffer(b"123456789", "u1")) == "ae8b14860a799888"
