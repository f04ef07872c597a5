//! One Zarr array as the zarrs crate understands it: its shape, cuts and codecs, and where its chunks lie.
//!
//! zarrs reads the metadata and undoes every chain of codecs but the common ones: an array in native byte
//! order under at most one compressor is decoded straight to where its elements are wanted.

use std::borrow::Cow;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use zarrs::array::{
    Array, ArrayBytes, ArrayMetadata, ArrayShardedExt, ArrayToBytesCodecTraits, BytesRepresentation, CodecChain,
    CodecOptions, DataType, FillValue,
};
use zarrs::metadata::v2::{ArrayMetadataV2Order, DataTypeMetadataV2};
use zarrs::metadata::v3::MetadataV3;
use zarrs::storage::store::MemoryStore;
use zarrs::storage::{StoreKey, WritableStorageTraits};

use super::filters::ElementFilter;
use super::{codecs, group};
use crate::block::{Buffer, size_bytes};
use crate::codec::Contexts;
use crate::codec::decode::Decoder;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::n_elements;
use crate::source::cf::{Attribute, Variable};

/// Most chunks in one shard whose index is read into memory.
const MAX_CHUNKS_PER_SHARD: u64 = 1 << 24;

/// An array and the chains that decode it.
pub(super) struct StoredArray {
    array: Array<MemoryStore>,
    folder: PathBuf,
    /// Its dtype.
    pub(super) dtype: DType,
    /// Shape of the boxes that are decoded as one.
    pub(super) unit: Vec<u64>,
    /// Codecs of those boxes.
    pub(super) chain: Chain,
    /// How files are made of those boxes, if one holds several.
    pub(super) sharding: Option<ShardIndex>,
    /// What is stored for elements of absent chunks, native order.
    pub(super) fill: Vec<u8>,
    /// Names of the axes, where the array states them.
    pub(super) names: Option<Vec<Option<String>>>,
    /// Format and compression in words.
    pub(super) storage: String,
    /// Version of the format, and its compressors as they describe themselves.
    pub(super) compressors: (u8, Vec<Value>),
}

/// Codecs of a shard's index, and where it lies.
pub(super) struct ShardIndex {
    /// Chunks along each axis of a shard.
    pub(super) counts: Vec<u64>,
    /// Shape of a shard in elements.
    pub(super) shape: Vec<u64>,
    /// Whether the index is at the end of the file.
    pub(super) index_at_end: bool,
    /// Bytes of the encoded index.
    pub(super) index_bytes: u64,
    index_chain: CodecChain,
}

/// The codecs from elements to bytes.
pub(super) struct Chain {
    /// The one compressor, if the elements below it lie in native order.
    pub(super) plain: Option<Decoder>,
    general: Arc<CodecChain>,
    data_type: DataType,
    fill: FillValue,
    shape: Vec<NonZeroU64>,
}

/// Zarr v3's configuration of shards.
#[derive(Deserialize)]
struct ShardingConfiguration {
    chunk_shape: Vec<NonZeroU64>,
    codecs: Vec<MetadataV3>,
    index_codecs: Vec<MetadataV3>,
    #[serde(default)]
    index_location: Option<String>,
}

impl StoredArray {
    /// Opens the array in `folder`.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        codecs::register();
        let store = MemoryStore::new();
        for name in ["zarr.json", ".zarray", ".zattrs"] {
            if let Some(text) = group::text(&folder.join(name))? {
                store.set(&StoreKey::new(name).map_err(Error::usage)?, text.into()).map_err(Error::usage)?;
                if name == "zarr.json" {
                    break;
                }
            }
        }
        let array = Array::open(Arc::new(store), "/").map_err(|e| Error::unsupported(format!("Zarr: {e}")))?;
        let (dtype, native) = element_type(array.metadata())?;
        let (chunk, grid_is_regular) = regular_chunk(&array)?;
        if !grid_is_regular {
            return Err(Error::unsupported("Zarr: chunks of unequal shape are not read"));
        }
        let fill = array.fill_value().as_ne_bytes().to_vec();
        if fill.len() != dtype.size() {
            return Err(Error::format(format!("Zarr: a fill value of {} bytes for {dtype}", fill.len())));
        }
        let mut names = None;
        let mut sharding = None;
        let mut unit = chunk.clone();
        let (chain, storage, compressors);
        match array.metadata() {
            ArrayMetadata::V3(v3) => {
                if !v3.storage_transformers.is_empty() {
                    return Err(Error::unsupported("Zarr: storage transformers are not known"));
                }
                names = v3.dimension_names.clone();
                let mut list = v3.codecs.clone();
                if array.is_exclusively_sharded() {
                    let (cut, inner, inner_codecs) = shards(&list, &chunk)?;
                    list = inner_codecs;
                    unit = inner;
                    sharding = Some(cut);
                }
                let is_compressor = |m: &&MetadataV3| !matches!(m.name(), "bytes" | "transpose" | "endian");
                let described = list.iter().filter(is_compressor).filter_map(|m| serde_json::to_value(m).ok());
                compressors = (3, described.collect());
                let general = chain_of(&list)?;
                storage = format!("Zarr v3, {}", codec_names(list.iter().map(MetadataV3::name)));
                chain = Chain::new(&array, Arc::new(general), plain_v3(&list, dtype), &unit)?;
            }
            ArrayMetadata::V2(v2) => {
                if let Some(Value::Array(dimensions)) = v2.attributes.get("_ARRAY_DIMENSIONS") {
                    names = Some(dimensions.iter().map(|d| d.as_str().map(String::from)).collect());
                }
                compressors = (2, v2.compressor.iter().filter_map(|c| serde_json::to_value(c).ok()).collect());
                let compressor = v2.compressor.as_ref().map(zarrs::metadata::v2::MetadataV2::id);
                let simple = native
                    && (v2.order == ArrayMetadataV2Order::C || chunk.len() < 2)
                    && v2.filters.as_ref().is_none_or(Vec::is_empty);
                let plain = if simple { compressor.map_or(Some(Decoder::None), Decoder::named) } else { None };
                let filters = v2.filters.iter().flatten().map(zarrs::metadata::v2::MetadataV2::id);
                storage = format!("Zarr v2, {}", codec_names(filters.chain(compressor)));
                chain = Chain::new(&array, array.codecs(), plain, &unit)?;
            }
        }
        let folder = folder.to_owned();
        Ok(Self { array, folder, dtype, unit, chain, sharding, fill, names, storage, compressors })
    }

    /// The array as a variable of the CF conventions, by its attributes. In v2, xarray has no other place for what stands
    /// for none than the fill value, which counts so where values are unpacked and axes have names, as it writes them.
    pub(super) fn variable(&self, is_unpacked: bool) -> Variable {
        let (own, fill) = match self.array.metadata() {
            ArrayMetadata::V3(v3) => (&v3.attributes, None),
            ArrayMetadata::V2(v2) => {
                let is_none = is_unpacked && self.names.is_some() && !v2.fill_value.is_null();
                (&v2.attributes, is_none.then_some(&self.fill))
            }
        };
        let own = own.iter().filter_map(|(key, value)| Some((key.clone(), attribute(value)?)));
        let number = |fill: &Vec<u8>| {
            let mut element = Buffer::default();
            element.sized(fill.len()).copy_from_slice(fill);
            ("_FillValue".to_owned(), Attribute::Numbers(crate::dtype::to_f64(self.dtype, element.bytes())))
        };
        let attributes = own.chain(fill.map(number)).collect();
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Variable { name, dtype: Some(self.dtype), attributes, ..Variable::default() }
    }

    /// Lengths of the axes.
    pub(super) fn shape(&self) -> &[u64] {
        self.array.shape()
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of the chunk, or shard, at `position`.
    pub(super) fn file(&self, position: &[u64]) -> PathBuf {
        self.folder.join(self.array.chunk_key(position).as_str())
    }
}

impl Chain {
    fn new(array: &Array<MemoryStore>, general: Arc<CodecChain>, plain: Option<Decoder>, unit: &[u64]) -> Result<Self> {
        let (data_type, fill) = (array.data_type().clone(), array.fill_value().clone());
        Ok(Self { plain, general, data_type, fill, shape: non_zero(unit)? })
    }

    /// Decodes a chunk to `out`, in native order.
    ///
    /// # Errors
    /// `Format` if it is damaged or of another size.
    pub(super) fn decode(&self, stored: &[u8], out: &mut [u8], contexts: &mut Contexts) -> Result<()> {
        if let Some(decoder) = self.plain {
            return decoder.decode_exact(stored, out, contexts);
        }
        let options = CodecOptions::default().with_concurrent_target(1);
        let decoded = self.general.decode(Cow::Borrowed(stored), &self.shape, &self.data_type, &self.fill, &options);
        let decoded = decoded.map_err(Error::format)?;
        let bytes = ArrayBytes::into_fixed(decoded).map_err(Error::format)?;
        if bytes.len() != out.len() {
            return Err(Error::format(format!("holds {} bytes, not {}", bytes.len(), out.len())));
        }
        out.copy_from_slice(&bytes);
        Ok(())
    }
}

impl ShardIndex {
    /// Decodes the index of a shard: offset and length of each chunk, row-major.
    ///
    /// # Errors
    /// `Format` if it is damaged.
    pub(super) fn index(&self, stored: &[u8]) -> Result<Vec<(u64, u64)>> {
        let (shape, data_type, fill) = index_representation(&self.counts)?;
        let options = CodecOptions::default().with_concurrent_target(1);
        let decoded = self.index_chain.decode(Cow::Borrowed(stored), &shape, &data_type, &fill, &options);
        let bytes = decoded.map_err(Error::format)?.into_fixed().map_err(Error::format)?;
        let word = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).unwrap_or(u64::MAX);
        Ok(bytes.chunks_exact(16).map(|entry| (word(&entry[..8]), word(&entry[8..]))).collect())
    }
}

/// What an attribute holds, if that is text or numbers.
fn attribute(value: &Value) -> Option<Attribute> {
    match value {
        Value::String(text) => {
            Some(in_base64(text).map_or_else(|| Attribute::Text(text.clone()), |x| Attribute::Numbers(vec![x])))
        }
        Value::Array(list) => list.iter().map(Value::as_f64).collect::<Option<_>>().map(Attribute::Numbers),
        other => other.as_f64().map(|number| Attribute::Numbers(vec![number])),
    }
}

/// A float as xarray writes one into attributes of v3: its eight bytes, little-endian, in Base64.
fn in_base64(text: &str) -> Option<f64> {
    let digits = text.strip_suffix('=').filter(|digits| digits.len() == 11)?;
    let bits = digits.bytes().try_fold(0u128, |bits, digit| {
        let digit = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        Some(bits << 6 | u128::from(digit))
    })?;
    Some(f64::from_bits(((bits >> 2) as u64).swap_bytes()))
}

fn index_representation(counts: &[u64]) -> Result<(Vec<NonZeroU64>, DataType, FillValue)> {
    let shape = non_zero(&[counts, &[2]].concat())?;
    Ok((shape, zarrs::array::data_type::uint64(), FillValue::from(u64::MAX)))
}

fn non_zero(shape: &[u64]) -> Result<Vec<NonZeroU64>> {
    let lengths: Option<Vec<_>> = shape.iter().map(|&n| NonZeroU64::new(n)).collect();
    lengths.ok_or_else(|| Error::format("Zarr: a chunk of length 0"))
}

fn chain_of(list: &[MetadataV3]) -> Result<CodecChain> {
    refuse_order(list)?;
    CodecChain::from_metadata(list).map_err(|e| Error::unsupported(format!("Zarr: {e}")))
}

/// Refuses filters of elements that would be undone wrongly here, where they come before the bytes are put in order.
fn refuse_order(list: &[MetadataV3]) -> Result<()> {
    let Some(filter) = list.iter().find(|m| ElementFilter::is_known(m.name())) else { return Ok(()) };
    let set = |m: &MetadataV3, is: &dyn Fn(&str) -> bool| {
        m.configuration().is_some_and(|c| c.iter().any(|(_, value)| value.as_str().is_some_and(is)))
    };
    let swapped = |m: &MetadataV3| match m.name() {
        "bytes" | "endian" => set(m, &|text| text == "big"),
        name => ElementFilter::is_known(name) && set(m, &|text| text.starts_with('>')),
    };
    let mut after = list.iter().skip_while(|m| !ElementFilter::is_ordered(m.name()));
    let why = if list.iter().any(swapped) {
        "of big-endian elements"
    } else if after.any(|m| m.name() == "transpose") {
        "before a transpose"
    } else {
        return Ok(());
    };
    Err(Error::unsupported(format!("Zarr: the filter {} {why} is not read: store the array without it", filter.name())))
}

/// Takes apart the one codec of a sharded array whose shards have the shape `shard`.
fn shards(list: &[MetadataV3], shard: &[u64]) -> Result<(ShardIndex, Vec<u64>, Vec<MetadataV3>)> {
    let wrong = |why: &dyn std::fmt::Display| Error::format(format!("Zarr: sharding_indexed: {why}"));
    let configuration = list.first().and_then(MetadataV3::configuration).cloned().unwrap_or_default();
    let configuration: ShardingConfiguration =
        serde_json::from_value(Value::Object(configuration.into())).map_err(|e| wrong(&e))?;
    let inner: Vec<u64> = configuration.chunk_shape.iter().map(|n| n.get()).collect();
    if inner.len() != shard.len() || shard.iter().zip(&inner).any(|(s, i)| s % i != 0) {
        return Err(wrong(&format!("shards of {shard:?} do not consist of chunks of {inner:?}")));
    }
    let counts: Vec<u64> = shard.iter().zip(&inner).map(|(s, i)| s / i).collect();
    if n_elements(&counts) > MAX_CHUNKS_PER_SHARD {
        return Err(Error::unsupported(format!("Zarr: shards of {} chunks are not read", n_elements(&counts))));
    }
    let index_chain = chain_of(&configuration.index_codecs)?;
    let (shape, data_type, fill) = index_representation(&counts)?;
    let index_bytes = match index_chain.encoded_representation(&shape, &data_type, &fill) {
        Ok(BytesRepresentation::FixedSize(n)) => n,
        _ => return Err(wrong(&"the size of the index is not fixed")),
    };
    let index_at_end = configuration.index_location.as_deref() != Some("start");
    let cut = ShardIndex { counts, shape: shard.to_vec(), index_at_end, index_bytes, index_chain };
    Ok((cut, inner, configuration.codecs))
}

/// The compressor of a chain that is nothing but native bytes under at most one.
fn plain_v3(list: &[MetadataV3], dtype: DType) -> Option<Decoder> {
    let (bytes, rest) = list.split_first()?;
    let endian = bytes.configuration().and_then(|c| c.get("endian")).and_then(Value::as_str);
    let native = if cfg!(target_endian = "little") { "little" } else { "big" };
    if bytes.name() != "bytes" || (dtype.swap_size() > 1 && endian != Some(native)) {
        return None;
    }
    match rest {
        [] => Some(Decoder::None),
        [one] => Decoder::named(one.name()),
        _ => None,
    }
}

/// Shape of the array's equal chunks, and whether they are equal.
fn regular_chunk(array: &Array<MemoryStore>) -> Result<(Vec<u64>, bool)> {
    match array.metadata() {
        ArrayMetadata::V2(v2) => Ok((v2.chunks.iter().map(|n| n.get()).collect(), true)),
        ArrayMetadata::V3(v3) => {
            let shape = v3.chunk_grid.configuration().and_then(|c| c.get("chunk_shape"));
            let shape: Option<Vec<NonZeroU64>> = shape.and_then(|s| serde_json::from_value(s.clone()).ok());
            let regular = v3.chunk_grid.name() == "regular";
            Ok((shape.unwrap_or_default().iter().map(|n| n.get()).collect(), regular))
        }
    }
}

/// Type of the elements, and whether they are stored in native byte order as far as that is told here.
fn element_type(metadata: &ArrayMetadata) -> Result<(DType, bool)> {
    let unknown = |name: &str| {
        Error::unsupported(format!("Zarr: elements of type '{name}' are not read: numbers and booleans are"))
    };
    match metadata {
        ArrayMetadata::V3(v3) => {
            let name = v3.data_type.name();
            Ok((name.parse().map_err(|_| unknown(name))?, true))
        }
        ArrayMetadata::V2(v2) => {
            let DataTypeMetadataV2::Simple(text) = &v2.dtype else { return Err(unknown("record")) };
            let same = |d: &DType| d.typestr().get(1..) == text.get(1..);
            let dtype = DType::ALL.into_iter().find(same).ok_or_else(|| unknown(text))?;
            let foreign = if cfg!(target_endian = "little") { '>' } else { '<' };
            Ok((dtype, dtype.swap_size() == 1 || !text.starts_with(foreign)))
        }
    }
}

/// Compression in words.
fn codec_names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let listed: Vec<&str> = names.filter(|n| *n != "bytes").collect();
    if listed.is_empty() { "uncompressed".into() } else { listed.join(" and ") }
}

/// Bytes of a chunk of `unit` in memory.
pub(super) fn unit_bytes(unit: &[u64], dtype: DType) -> Result<usize> {
    let n = size_bytes(unit, dtype);
    usize::try_from(n).ok().filter(|&n| n <= isize::MAX as usize / 2).ok_or_else(|| {
        Error::unsupported(format!("Zarr: chunks of {unit:?} {dtype} are too large to be held in memory"))
    })
}
