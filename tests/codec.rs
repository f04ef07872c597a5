//! The Blosc encoders and decoder against c-blosc, both ways, and the settings' names.

use std::ffi::CString;
use std::fs;

use crate::common;
use crate::common::tempdir;
use proptest::prelude::*;
use stackctl::codec::decode::Decoder;
use stackctl::codec::{Codec, Contexts};

/// What c-blosc makes of `data`.
fn c_compress(data: &[u8], compressor: &str, level: u8, shuffle: u8, size: usize, block: usize) -> Vec<u8> {
    let mut out = vec![0; data.len() + 16];
    let name = CString::new(compressor).unwrap();
    // SAFETY: source and destination are live, as long as stated and apart; the name is a C string.
    let n = unsafe {
        blosc_src::blosc_compress_ctx(
            level.into(),
            shuffle.into(),
            size,
            data.len(),
            data.as_ptr().cast(),
            out.as_mut_ptr().cast(),
            out.len(),
            name.as_ptr(),
            block,
            1,
        )
    };
    out.truncate(usize::try_from(n).unwrap());
    assert!(!out.is_empty());
    out
}

/// What c-blosc reads in `container`, if it holds `n` bytes.
fn c_decompress(container: &[u8], n: usize) -> Option<Vec<u8>> {
    let mut out = vec![0; n];
    let mut stated = 0;
    // SAFETY: the call reads at most the stated length of a live slice.
    let valid =
        unsafe { blosc_src::blosc_cbuffer_validate(container.as_ptr().cast(), container.len(), &raw mut stated) };
    if valid != 0 || stated != n {
        return None;
    }
    // SAFETY: both are live, apart and as long as stated; the source has passed validation.
    let got =
        unsafe { blosc_src::blosc_decompress_ctx(container.as_ptr().cast(), out.as_mut_ptr().cast(), out.len(), 1) };
    (usize::try_from(got) == Ok(n)).then_some(out)
}

/// Bytes like those of pictures, and unlike them.
fn data(kind: usize, n: usize, size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut noise = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    let element = |i: usize, noise: u32| -> u64 {
        match kind {
            0 => 0x0102_0304_0506_0708,
            1 => u64::from(noise).wrapping_mul(0x0001_0001_0001_0001),
            // A camera: offset, noise of some bits, a bright spot here and there.
            2 => 100 + u64::from(noise.count_ones()) + if noise.is_multiple_of(997) { 3000 } else { 0 },
            // Wide steps, and a smooth slope.
            3 => (i / 1000 % 7) as u64 * 0x1111,
            4 => (i as u64).wrapping_mul(17) / 16,
            // Sparse.
            5 => u64::from(noise.is_multiple_of(211)),
            // Half smooth, half noise: different from block to block.
            _ if (i / 5000).is_multiple_of(2) => u64::from(noise),
            _ => 7,
        }
    };
    let mut bytes: Vec<u8> = (0..n.div_ceil(size))
        .flat_map(|i| {
            let value = element(i, noise()).to_le_bytes();
            (0..size).map(move |byte| value[byte % 8])
        })
        .collect();
    bytes.truncate(n);
    bytes
}

const KINDS: usize = 7;

/// Sizes of elements: all that are usual, odd ones, and the ends.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => prop_oneof![Just(1usize), Just(2), Just(4), Just(8)],
        2 => 1usize..=20,
        1 => prop_oneof![Just(32usize), Just(254), Just(255), Just(256), Just(1000)],
    ]
}

/// Lengths: none, few, around what is cut into blocks, and more than one block.
fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![0usize..300, 1000usize..70_000, 120_000usize..140_000, 500_000usize..700_000]
}

fn blosc_texts() -> impl Strategy<Value = String> {
    let ours = prop_oneof![Just("zstd,1"), Just("zstd,2"), Just("zstd,3")];
    let others = prop_oneof![Just("zstd,4"), Just("lz4,1"), Just("lz4hc,4"), Just("zlib,3"), Just("blosclz,5")];
    let shuffle = prop_oneof![Just("noshuffle"), Just("shuffle"), Just("bitshuffle")];
    let block = prop_oneof![4 => Just(0usize), 1 => 1usize..5000, 1 => 60_000usize..1_000_000];
    (prop_oneof![2 => ours, 1 => others], shuffle, block).prop_map(|(a, b, block)| format!("blosc:{a},{b},{block}"))
}

fn encode(text: &str, data: &[u8], size: usize, contexts: &mut Contexts) -> Vec<u8> {
    let codec: Codec = text.parse().unwrap();
    let mut out = vec![];
    codec.encode(data, size, &mut out, contexts).unwrap();
    assert!(out.len() as u64 <= codec.bound(data.len() as u64), "{text}: {} of {}", out.len(), data.len());
    out
}

fn decode(container: &[u8], n: usize, contexts: &mut Contexts) -> Result<Vec<u8>, String> {
    let mut out = vec![0xa5; n];
    Decoder::Blosc.decode_exact(container, &mut out, contexts).map(|()| out).map_err(|e| e.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_here_c_blosc_reads(
        text in blosc_texts(), kind in 0..KINDS, n in lengths(), size in sizes(), seed: u64,
    ) {
        let data = data(kind, n, size, seed);
        let mut contexts = Contexts::default();
        let container = encode(&text, &data, size, &mut contexts);
        prop_assert!(c_decompress(&container, n).is_some_and(|got| got == data), "c-blosc");
        prop_assert!(decode(&container, n, &mut contexts).is_ok_and(|got| got == data), "here");
        // What an encoder has seen before leaves no trace.
        prop_assert!(encode(&text, &data, size, &mut contexts) == container, "again");
        prop_assert!(decode(&container, n + 1, &mut contexts).is_err());
    }

    #[test]
    fn what_c_blosc_writes_is_read_here(
        compressor in 0usize..5, level in 0u8..=9, shuffle in 0u8..=2, kind in 0..KINDS, n in lengths(),
        size in sizes(), block in prop_oneof![3 => Just(0usize), 1 => 1usize..300_000], seed: u64,
    ) {
        let compressor = ["zstd", "lz4", "lz4hc", "zlib", "blosclz"][compressor];
        let level = if n > 200_000 { level.min(6) } else { level };
        let data = data(kind, n, size, seed);
        let container = c_compress(&data, compressor, level, shuffle, size, block);
        let got = decode(&container, n, &mut Contexts::default());
        prop_assert!(got.as_ref().is_ok_and(|got| *got == data), "{:?}", got.err());
    }

    #[test]
    fn exact_gives_the_bytes_of_c_blosc(
        compressor in 0usize..4, level in 0u8..=9, shuffle in 0u8..=2, kind in 0..KINDS, n in lengths(),
        size in sizes(), block in prop_oneof![3 => Just(0usize), 1 => 1usize..300_000], seed: u64,
    ) {
        let compressor = ["zstd", "lz4", "lz4hc", "zlib"][compressor];
        let level = if n > 200_000 { level.min(6) } else { level };
        let data = data(kind, n, size, seed);
        let name = ["noshuffle", "shuffle", "bitshuffle"][usize::from(shuffle)];
        let text = format!("blosc:{compressor},{level},{name},{block},exact");
        let mut contexts = Contexts::default();
        for _ in 0..2 {
            let expected = c_compress(&data, compressor, level, shuffle, size, block);
            prop_assert!(encode(&text, &data, size, &mut contexts) == expected, "{}", text);
        }
    }

    #[test]
    fn damage_is_read_as_c_blosc_reads_it_or_refused(
        text in blosc_texts(), kind in 0..KINDS, n in 1usize..20_000, size in sizes(), seed: u64,
        at in 0usize..4000, value: u8, cut in prop_oneof![3 => Just(0usize), 1 => 0usize..4000],
    ) {
        let mut contexts = Contexts::default();
        let mut container = encode(&text, &data(kind, n, size, seed), size, &mut contexts);
        let at = at % container.len();
        container[at] = value;
        container.truncate(container.len() - cut % container.len());
        if let (Ok(here), Some(there)) = (decode(&container, n, &mut contexts), c_decompress(&container, n)) {
            prop_assert!(here == there, "{} at {}", text, at);
        }
    }

    #[test]
    fn anything_at_all_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400), n in 0usize..2000) {
        let mut contexts = Contexts::default();
        let _ = decode(&bytes, n, &mut contexts);
        // With a header that passes for one.
        let mut container = vec![2, 1, bytes.first().copied().unwrap_or(0) & !8, 2];
        for number in [n, n.min(128), 16 + bytes.len()] {
            container.extend_from_slice(&(number as u32).to_le_bytes());
        }
        container.extend_from_slice(&bytes);
        let _ = decode(&container, n, &mut contexts);
    }
}

#[test]
fn settings_have_names() {
    let smaller: Codec = "smaller".parse().unwrap();
    assert_eq!(smaller.to_string(), "blosc:zstd,3,shuffle");
    assert_eq!(smaller, "blosc:zstd,3,shuffle".parse().unwrap());
    let exact: Codec = "blosc:exact".parse().unwrap();
    assert_eq!(exact.to_string(), "blosc:zstd,3,bitshuffle,exact");
    assert_eq!(exact, exact.to_string().parse().unwrap());
    // Readers need not know who wrote it.
    assert_eq!(exact.v2(), Codec::DEFAULT.v2());
    assert_eq!(exact.v3(2), Codec::DEFAULT.v3(2));
    for (text, says) in [("blosc:exact,exact", "twice"), ("blosc:blosclz,exact", "lz4"), ("smaller:3", "no settings")] {
        let said = text.parse::<Codec>().unwrap_err();
        assert!(said.to_string().contains(says), "{text}: {said}");
    }
}

/// NumPy's name of unsigned integers of `size` bytes.
fn dtype(size: usize) -> String {
    format!("{}u{size}", if size == 1 { '|' } else { '<' })
}

/// Arrays of one chunk, in Zarr v2 and v3, whose chunks are what the encoders write; with the bytes they hold.
#[test]
fn other_readers_read_what_is_written() {
    let folder = tempdir().unwrap();
    let mut contexts = Contexts::default();
    for (text, name) in [
        ("blosc", "default"),
        ("smaller", "smaller"),
        ("blosc:exact", "exact"),
        ("blosc:lz4,1,bitshuffle", "lz4"),
        ("blosc:blosclz,5,shuffle", "blosclz"),
        ("blosc:zlib,1,shuffle", "zlib"),
    ] {
        let codec: Codec = text.parse().unwrap();
        for size in [1, 2, 8] {
            for n in [1, 9, 4096, 262_147] {
                for kind in [0, 1, 2, 6] {
                    let data = data(kind, n * size, size, n as u64);
                    let at = folder.path().join(format!("{name}_{size}_{n}_{kind}"));
                    let container = encode(text, &data, size, &mut contexts);
                    fs::create_dir_all(at.join("v3/c")).unwrap();
                    fs::create_dir_all(at.join("v2")).unwrap();
                    fs::write(at.join("raw"), &data).unwrap();
                    fs::write(at.join("v3/c/0"), &container).unwrap();
                    fs::write(at.join("v2/0"), &container).unwrap();
                    let v3 = serde_json::json!({
                        "zarr_format": 3, "node_type": "array", "shape": [n], "data_type": format!("uint{}", 8 * size),
                        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [n]}},
                        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
                        "fill_value": 0,
                        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, codec.v3(size)[0]],
                    });
                    let v2 = serde_json::json!({
                        "zarr_format": 2, "shape": [n], "chunks": [n], "dtype": dtype(size), "order": "C",
                        "fill_value": 0, "filters": null, "compressor": codec.v2(),
                    });
                    fs::write(at.join("v3/zarr.json"), v3.to_string()).unwrap();
                    fs::write(at.join("v2/.zarray"), v2.to_string()).unwrap();
                }
            }
        }
    }
    common::python("read_blosc.py", &[folder.path()]);
}
