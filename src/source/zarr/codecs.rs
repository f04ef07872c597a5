//! Our decoders, made known to the zarrs crate.
//!
//! zarrs is built without Blosc, whose C library can be linked once only; and its own inflate grows until
//! memory ends, where these stop at the size that the array states.

use std::any::Any;
use std::borrow::Cow;
use std::sync::{Arc, Once};

use zarrs::array::codec::api::{
    CodecRuntimePluginV2, CodecRuntimePluginV3, PartialDecoderCapability, PartialEncoderCapability, register_codec_v2,
    register_codec_v3,
};
use zarrs::array::{
    ArrayBytesRaw, BytesRepresentation, BytesToBytesCodecTraits, Codec, CodecError, CodecMetadataOptions, CodecOptions,
    CodecTraits, RecommendedConcurrency,
};
use zarrs::metadata::Configuration;
use zarrs::plugin::{ExtensionName, PluginCreateError, ZarrVersion};

use super::filters::ElementFilter;
use crate::codec::Contexts;
use crate::codec::decode::Decoder;

/// Makes the decoders known, once per process.
pub(super) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let known = |name: &str| Decoder::named(name).is_some() || ElementFilter::is_known(name) || is_lossy(name);
        register_codec_v3(CodecRuntimePluginV3::new(known, |metadata| {
            codec(metadata.name(), &metadata.configuration().cloned().unwrap_or_default())
        }));
        register_codec_v2(CodecRuntimePluginV2::new(known, |metadata| codec(metadata.id(), metadata.configuration())));
    });
}

/// Whether it only made the elements easier to compress, so that nothing is to be undone.
fn is_lossy(name: &str) -> bool {
    name.trim_start_matches("numcodecs.") == "bitround"
}

fn codec(name: &str, settings: &Configuration) -> Result<Codec, PluginCreateError> {
    let step = match (Decoder::named(name), is_lossy(name)) {
        (Some(decoder), _) => Step::Bytes(decoder),
        (None, true) => Step::Bytes(Decoder::None),
        (None, false) => {
            let filter = ElementFilter::new(name, settings);
            let why = || PluginCreateError::from(format!("the settings of {name} are not understood"));
            Step::Elements(filter.ok_or_else(why)?)
        }
    };
    Ok(Codec::BytesToBytes(Arc::new(Bounded(step))))
}

/// What is undone.
#[derive(Debug)]
enum Step {
    Bytes(Decoder),
    Elements(ElementFilter),
}

/// A step that knows how much its input may hold.
#[derive(Debug)]
struct Bounded(Step);

impl ExtensionName for Bounded {
    fn name(&self, _version: ZarrVersion) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match &self.0 {
            Step::Bytes(decoder) => decoder.name(),
            Step::Elements(filter) => filter.name(),
        }))
    }
}

impl CodecTraits for Bounded {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn configuration(&self, _version: ZarrVersion, _options: &CodecMetadataOptions) -> Option<Configuration> {
        // Arrays are only read here, never described.
        None
    }

    fn partial_decoder_capability(&self) -> PartialDecoderCapability {
        PartialDecoderCapability { partial_read: false, partial_decode: false }
    }

    fn partial_encoder_capability(&self) -> PartialEncoderCapability {
        PartialEncoderCapability { partial_encode: false }
    }
}

impl BytesToBytesCodecTraits for Bounded {
    fn into_dyn(self: Arc<Self>) -> Arc<dyn BytesToBytesCodecTraits> {
        self
    }

    fn recommended_concurrency(&self, _decoded: &BytesRepresentation) -> Result<RecommendedConcurrency, CodecError> {
        Ok(RecommendedConcurrency::new_maximum(1))
    }

    fn encoded_representation(&self, decoded: &BytesRepresentation) -> BytesRepresentation {
        match (&self.0, decoded) {
            (Step::Elements(filter), BytesRepresentation::FixedSize(n)) => {
                BytesRepresentation::FixedSize(filter.stored_bytes(*n))
            }
            (Step::Elements(filter), BytesRepresentation::BoundedSize(n)) => {
                BytesRepresentation::BoundedSize(filter.stored_bytes(*n))
            }
            _ => decoded.size().map_or(BytesRepresentation::UnboundedSize, |size| {
                BytesRepresentation::BoundedSize(super::stored_bound(size))
            }),
        }
    }

    fn encode<'a>(
        &self,
        _decoded: ArrayBytesRaw<'a>,
        _options: &CodecOptions,
    ) -> Result<ArrayBytesRaw<'a>, CodecError> {
        Err(CodecError::Other("arrays are only read here".into()))
    }

    fn decode<'a>(
        &self,
        encoded: ArrayBytesRaw<'a>,
        decoded: &BytesRepresentation,
        _options: &CodecOptions,
    ) -> Result<ArrayBytesRaw<'a>, CodecError> {
        let other = |e: &dyn std::fmt::Display| CodecError::Other(e.to_string());
        let decoder = match &self.0 {
            Step::Bytes(decoder) => decoder,
            // What has come so far is no longer than the array states.
            Step::Elements(filter) => return Ok(Cow::Owned(filter.decode(&encoded))),
        };
        let most = decoded.size().and_then(|n| usize::try_from(n).ok());
        let most = most.ok_or_else(|| other(&"a chunk whose size nothing limits is not read"))?;
        let mut out = vec![0; most];
        let mut contexts = Contexts::default();
        let n = match decoded {
            BytesRepresentation::FixedSize(_) => decoder.decode_exact(&encoded, &mut out, &mut contexts).map(|()| most),
            _ => decoder.decode(&encoded, &mut out, &mut contexts),
        };
        out.truncate(n.map_err(|e| other(&e))?);
        Ok(Cow::Owned(out))
    }
}
