//! ScanImage: lines of `SI.name = value` in the software tag or, from older versions, in the description, say
//! which channels were kept and how a volume was scanned. Channels follow one another fastest.

use super::scale::measure;
use super::{Context, PageList, Series, Unusable};
use crate::axis::{Axis, Provenance};

const SOFTWARE: u16 = 305;

/// The recording of a file that has ScanImage's lines.
pub(super) fn read(cx: &Context<'_>) -> Result<Option<Vec<Series>>, Unusable> {
    let software = cx.tag(SOFTWARE, 1 << 24)?.map(|tag| tag.text());
    let texts = software.iter().chain(&cx.descriptions);
    let Some(header) = texts.map(|text| Header::parse(text)).find(|header| header.channels > 0) else {
        return Ok(None);
    };
    let n = u64::from(cx.directory.n_pages());
    let volume = header.slices.checked_mul(header.repeats).and_then(|n| n.checked_mul(header.channels));
    let Some(volume) = volume.filter(|&volume| n.is_multiple_of(volume)) else {
        let (c, z, r) = (header.channels, header.slices, header.repeats);
        return Err(Unusable::Ignore(format!(
            "it counts {c} channels, {z} slices and {r} frames of each, the file has {n} pages"
        )));
    };
    let volumes = n / volume;
    // Frames of a slice are times where there is one volume.
    let repeats = if volumes > 1 { "r" } else { "t" };
    let lengths = [("t", volumes), ("z", header.slices), (repeats, header.repeats), ("c", header.channels)];
    let mut axes: Vec<Axis> = lengths.iter().filter(|a| a.1 > 1).map(|&(name, n)| Axis::new(name, n)).collect();
    if let Some(rate) = header.frame_rate.filter(|_| header.slices == 1) {
        measure(&mut axes, "t", 1.0 / rate, Some("second"), Provenance::Vendor);
    }
    axes.extend(cx.directory.kind(0).axes());
    Ok(Some(vec![cx.series("ScanImage", axes, PageList::Range { first: 0, n: n as u32 })?]))
}

/// What the lines say.
#[derive(Debug, PartialEq)]
struct Header {
    channels: u64,
    slices: u64,
    repeats: u64,
    frame_rate: Option<f64>,
}

impl Header {
    fn parse(text: &str) -> Self {
        let value = |name: &str| {
            let lines = text.lines().filter_map(|line| line.split_once('='));
            let mut named = lines.filter(|(key, _)| {
                let key = key.trim();
                key.strip_prefix("SI.").or(key.strip_prefix("scanimage.SI.")) == Some(name)
            });
            named.next().map(|(_, value)| value.trim())
        };
        let number = |name: &str| value(name).and_then(|v| v.parse::<f64>().ok()).filter(|v| *v >= 1.0);
        let on = |name: &str| value(name) == Some("true");
        let list = value("hChannels.channelSave").unwrap_or_default();
        let channels = list.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).count() as u64;
        let fast = on("hFastZ.enable");
        let slices = if fast { number("hFastZ.numFramesPerVolume") } else { None };
        let slices = slices.or(number("hStackManager.actualNumSlices")).or(number("hStackManager.numSlices"));
        let stack = fast || on("hStackManager.enable");
        let repeats = number("hStackManager.framesPerSlice").filter(|v| v.is_finite() && stack && !fast);
        Self {
            channels,
            slices: slices.filter(|_| stack).map_or(1, |v| v as u64),
            repeats: repeats.map_or(1, |v| v as u64),
            frame_rate: value("hRoiManager.scanFrameRate").and_then(|v| v.parse().ok()).filter(|v: &f64| *v > 0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_channels_and_slices() {
        let text = "SI.hChannels.channelSave = [1;2]\nSI.hStackManager.numSlices = 3\nSI.hStackManager.enable = true\n\
                    SI.hRoiManager.scanFrameRate = 30.1\nSI.hStackManager.framesPerSlice = 1\n";
        let header = Header { channels: 2, slices: 3, repeats: 1, frame_rate: Some(30.1) };
        assert_eq!(Header::parse(text), header);
        let off = text.replace("true", "false");
        assert_eq!(Header::parse(&off).slices, 1);
        assert_eq!(Header::parse("SI.hChannels.channelSave = 2").channels, 1);
        assert_eq!(Header::parse("ImageJ=1.5\nslices=3").channels, 0);
        assert_eq!(Header::parse("SI.hStackManager.framesPerSlice = Inf\nSI.hStackManager.enable = true").repeats, 1);
    }
}
