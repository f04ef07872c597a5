//! Codecs of chunks: bytes in, bytes out, with scratch memory of one worker.
