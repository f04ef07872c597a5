//! OME-XML: what of it says where planes are and what they measure. Everything else is passed over, and so
//! are namespaces and versions of the schema.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// A document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ome {
    /// Identity of the file that the document is in.
    pub uuid: Option<String>,
    /// File that holds the real document, where this one only points to it.
    pub metadata_file: Option<String>,
    /// Images, in order.
    pub images: Vec<OmeImage>,
    /// By the identity of annotations: axes that hide in others.
    pub modulo: HashMap<String, Vec<Modulo>>,
}

/// An axis that is folded into z, c or t.
#[derive(Clone, Debug, PartialEq)]
pub struct Modulo {
    /// The axis it is folded into.
    pub along: char,
    /// What it counts: `angle`, `phase`, `lifetime`, `lambda`, `tile`, ...
    pub name: String,
    /// Its length.
    pub length: u64,
}

/// One Image with its Pixels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OmeImage {
    /// Name, if it has one.
    pub name: Option<String>,
    /// Axes of planes, slowest first: the last three letters of DimensionOrder backwards.
    pub order: Vec<char>,
    /// Lengths of x, y, z, c, t.
    pub sizes: HashMap<char, u64>,
    /// Step and unit as written of x, y, z, t.
    pub steps: HashMap<char, (f64, String)>,
    /// Where x, y and z begin, and in which unit; nothing where planes disagree.
    pub origins: HashMap<char, Option<(f64, String)>>,
    /// Channels, in order.
    pub channels: Vec<Channel>,
    /// Where the planes are.
    pub tiff_data: Vec<TiffData>,
    /// Annotations that it refers to.
    pub annotations: Vec<String>,
}

/// One Channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// Name, if it has one.
    pub name: Option<String>,
    /// Samples of each pixel.
    pub samples: Option<u64>,
    /// Wavelength of its light in nm: emitted, or else exciting.
    pub wavelength: Option<f64>,
    /// Its colour as six hexadecimal digits.
    pub colour: Option<String>,
}

/// One TiffData: planes that follow one another in a file.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct TiffData {
    /// First page.
    pub ifd: Option<u64>,
    /// Number of planes.
    pub count: Option<u64>,
    /// Position of the first plane along z, c, t.
    pub first: [u32; 3],
    /// Identity of the file, if it is named.
    pub uuid: Option<Arc<str>>,
    /// Name of the file, if it is named.
    pub file: Option<Arc<str>>,
}

impl TiffData {
    /// Position of the first plane along `axis`.
    pub fn first(&self, axis: char) -> u64 {
        "zct".find(axis).map_or(0, |i| self.first[i].into())
    }
}

/// Elements inside one another, more than any document has.
const MOST_DEPTH: usize = 128;

/// Identity of the file that `text` is in, from the document's first element.
pub(super) fn identity(text: &str) -> Option<String> {
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut parser = Parser::default();
    loop {
        match reader.read_event().ok()? {
            Event::Start(element) | Event::Empty(element) => {
                parser.open(&element).ok()?;
                return parser.ome.uuid;
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}

impl Ome {
    /// Reads a document.
    ///
    /// # Errors
    /// What is broken, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
        let mut parser = Parser::default();
        loop {
            match reader.read_event().map_err(|e| format!("broken XML at byte {}: {e}", reader.error_position()))? {
                Event::Start(element) => {
                    parser.open(&element)?;
                    if parser.stack.len() >= MOST_DEPTH {
                        return Err(format!("more than {MOST_DEPTH} elements inside one another"));
                    }
                    parser.stack.push(element.local_name().as_ref().to_owned());
                }
                Event::Empty(element) => {
                    parser.open(&element)?;
                }
                Event::End(_) => {
                    parser.stack.pop();
                }
                Event::Text(text) => parser.text(&text.xml_content(XmlVersion::Implicit1_0)),
                Event::CData(text) => parser.text(&text.xml_content(XmlVersion::Implicit1_0)),
                Event::Eof => break,
                _ => {}
            }
        }
        if !parser.stack.is_empty() {
            return Err("broken XML: it ends too early".to_owned());
        }
        if !parser.seen {
            return Err("it has no OME element".to_owned());
        }
        for image in &parser.ome.images {
            check(image)?;
        }
        Ok(parser.ome)
    }
}

fn check(image: &OmeImage) -> Result<(), String> {
    let mut sorted = image.order.clone();
    sorted.sort_unstable();
    if sorted != ['c', 't', 'z'] {
        return Err("an image has no DimensionOrder of z, c and t".to_owned());
    }
    match "xyzct".chars().find(|axis| image.sizes.get(axis).is_none_or(|&n| n == 0)) {
        Some(axis) => Err(format!("an image has no Size{}", axis.to_ascii_uppercase())),
        None => Ok(()),
    }
}

/// `name`, which takes memory once however often it comes.
fn once(names: &mut HashSet<Arc<str>>, name: &str) -> Arc<str> {
    if let Some(known) = names.get(name) {
        return Arc::clone(known);
    }
    let new: Arc<str> = name.into();
    names.insert(Arc::clone(&new));
    new
}

#[derive(Default)]
struct Parser {
    ome: Ome,
    /// Names of the open elements.
    stack: Vec<String>,
    /// Whether the root has been seen.
    seen: bool,
    /// Identity of the open annotation, if it is one of modulo.
    annotation: Option<String>,
    /// Names and identities of files, each once: a plane of a thousand in a file costs no text.
    names: HashSet<Arc<str>>,
}

impl Parser {
    fn open(&mut self, element: &BytesStart<'_>) -> Result<(), String> {
        let name = element.local_name();
        let parent = self.stack.last().map(String::as_str).unwrap_or_default();
        let mut attributes = HashMap::new();
        for attribute in element.attributes() {
            let attribute = attribute.map_err(|e| format!("broken XML: {e}"))?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|e| format!("broken XML: {e}"))?;
            attributes.insert(attribute.key.local_name().as_ref().to_owned(), value.into_owned());
        }
        let take = |key: &str| attributes.get(key).filter(|v| !v.trim().is_empty()).cloned();
        let number = |key: &str| take(key).and_then(|v| v.trim().parse::<u64>().ok());
        match (parent, name.as_ref()) {
            ("", "OME") => {
                self.seen = true;
                self.ome.uuid = take("UUID");
            }
            ("OME", "BinaryOnly") => self.ome.metadata_file = take("MetadataFile"),
            ("OME", "Image") => self.ome.images.push(OmeImage { name: take("Name"), ..OmeImage::default() }),
            ("Image", "Pixels") => {
                if let Some(image) = self.ome.images.last_mut() {
                    image.pixels(&take);
                }
            }
            ("Image", "AnnotationRef") => {
                if let (Some(image), Some(id)) = (self.ome.images.last_mut(), take("ID")) {
                    image.annotations.push(id);
                }
            }
            ("Pixels", "Channel") => {
                let light = |name: &str| {
                    let is_nm = take(&format!("{name}WavelengthUnit")).is_none_or(|unit| unit == "nm");
                    take(&format!("{name}Wavelength")).filter(|_| is_nm)?.parse().ok()
                };
                let wavelength = light("Emission").or_else(|| light("Excitation"));
                if let Some(image) = self.ome.images.last_mut() {
                    // Red, green, blue and alpha, from the highest byte on, in a number with a sign.
                    let rgba = take("Color").and_then(|text| text.parse::<i64>().ok());
                    let colour = rgba.map(|rgba| format!("{:06X}", rgba.cast_unsigned() as u32 >> 8));
                    let (name, samples) = (take("Name"), number("SamplesPerPixel"));
                    image.channels.push(Channel { name, samples, wavelength, colour });
                }
            }
            ("Pixels", "TiffData") => {
                let first = ["FirstZ", "FirstC", "FirstT"].map(|key| number(key).unwrap_or(0));
                let data = TiffData {
                    ifd: number("IFD"),
                    count: number("PlaneCount").or_else(|| number("NumPlanes")),
                    // Positions that large lie outside every image.
                    first: first.map(|at| u32::try_from(at).unwrap_or(u32::MAX)),
                    uuid: None,
                    file: None,
                };
                if let Some(image) = self.ome.images.last_mut() {
                    image.tiff_data.push(data);
                }
            }
            ("Pixels", "Plane") => {
                // Without a unit it is in one that nobody knows.
                let position = |axis: char| {
                    let key = format!("Position{axis}");
                    let at = take(&key)?.trim().parse::<f64>().ok().filter(|at| at.is_finite())?;
                    Some((at, take(&format!("{key}Unit"))?))
                };
                let is_first = number("TheZ") == Some(0);
                for axis in ['X', 'Y', 'Z'].into_iter().filter(|axis| *axis != 'Z' || is_first) {
                    if let (Some(image), Some(found)) = (self.ome.images.last_mut(), position(axis)) {
                        let known =
                            image.origins.entry(axis.to_ascii_lowercase()).or_insert_with(|| Some(found.clone()));
                        known.take_if(|known| *known != found);
                    }
                }
            }
            ("TiffData", "UUID") => {
                let name = take("FileName").map(|name| once(&mut self.names, &name));
                if let Some(data) = self.ome.images.last_mut().and_then(|i| i.tiff_data.last_mut()) {
                    data.file = name;
                }
            }
            ("StructuredAnnotations", _) => {
                let modulo = take("Namespace").is_some_and(|n| n.to_lowercase().ends_with("modulo"));
                self.annotation = if modulo { take("ID") } else { None };
            }
            (_, along) if along.starts_with("ModuloAlong") => self.modulo(along, &take),
            (along, "Label") if along.starts_with("ModuloAlong") => {
                let id = self.annotation.clone().unwrap_or_default();
                if let Some(modulo) = self.ome.modulo.get_mut(&id).and_then(|m| m.last_mut()) {
                    modulo.length += 1;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn modulo(&mut self, element: &str, take: &dyn Fn(&str) -> Option<String>) {
        let Some(id) = self.annotation.clone() else { return };
        let Some(along) = element.chars().last().map(|c| c.to_ascii_lowercase()) else { return };
        let float = |key: &str| take(key).and_then(|v| v.trim().parse::<f64>().ok()).filter(|v| v.is_finite());
        // A range counts its ends in; without one, labels are counted as they come.
        let length = match (float("Start"), float("End")) {
            (Some(start), Some(end)) => {
                let steps = (end - start) / float("Step").filter(|s| *s != 0.0).unwrap_or(1.0);
                if steps >= 0.0 { (steps + 1e-6).floor() as u64 + 1 } else { 0 }
            }
            _ => 0,
        };
        let name = take("Type").unwrap_or_else(|| "other".to_owned());
        self.ome.modulo.entry(id).or_default().push(Modulo { along, name, length });
    }

    fn text(&mut self, text: &str) {
        let [.., parent, name] = &self.stack[..] else { return };
        if parent == "TiffData"
            && name == "UUID"
            && let Some(data) = self.ome.images.last_mut().and_then(|i| i.tiff_data.last_mut())
        {
            let before = data.uuid.take().unwrap_or_default();
            let whole = format!("{before}{}", text.trim());
            let name = once(&mut self.names, &whole);
            data.uuid = Some(name);
        }
    }
}

impl OmeImage {
    fn pixels(&mut self, take: &dyn Fn(&str) -> Option<String>) {
        let order = take("DimensionOrder").unwrap_or_default().to_lowercase();
        self.order = order.strip_prefix("xy").map(|rest| rest.chars().rev().collect()).unwrap_or_default();
        for axis in "xyzct".chars() {
            if let Some(size) = take(&format!("Size{}", axis.to_ascii_uppercase()))
                && let Ok(size) = size.trim().parse()
            {
                self.sizes.insert(axis, size);
            }
        }
        for (axis, key, unit) in [
            ('x', "PhysicalSizeX", "µm"),
            ('y', "PhysicalSizeY", "µm"),
            ('z', "PhysicalSizeZ", "µm"),
            ('t', "TimeIncrement", "s"),
        ] {
            let step = take(key).and_then(|v| v.trim().parse::<f64>().ok());
            if let Some(step) = step.filter(|s| s.is_finite() && *s > 0.0) {
                self.steps.insert(axis, (step, take(&format!("{key}Unit")).unwrap_or_else(|| unit.to_owned())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"<?xml version="1.0" encoding="UTF-8"?><!-- a comment -->
        <o:OME xmlns:o="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1">
        <o:Image ID="Image:0" Name="a &amp; b"><o:AnnotationRef ID="Annotation:3"/>
        <o:Pixels DimensionOrder="XYZCT" SizeX="6" SizeY="5" SizeZ="4" SizeC="3" SizeT="2" Type="uint8"
         PhysicalSizeX="0.5" PhysicalSizeZ="2" PhysicalSizeZUnit="nm" TimeIncrement="-1">
        <o:Channel ID="c0" Name="DAPI" EmissionWavelength="461"/>
        <o:Channel ID="c1" SamplesPerPixel="1" EmissionWavelength="1" EmissionWavelengthUnit="mm"/>
        <o:TiffData IFD="3" FirstC="1" PlaneCount="2"><o:UUID FileName="b.ome.tif">urn:uuid:2</o:UUID></o:TiffData>
        <o:TiffData/><o:Plane TheZ="0" TheC="0" TheT="0" PositionX="1.5" PositionXUnit="mm" PositionY="1" PositionYUnit="µm"
         PositionZ="-3" PositionZUnit="nm"/><o:Plane TheZ="1" TheC="0" TheT="0" PositionX="1.5" PositionXUnit="mm"
         PositionY="2" PositionYUnit="µm" PositionZ="-1" PositionZUnit="nm"/></o:Pixels></o:Image>
        <o:StructuredAnnotations><o:XMLAnnotation ID="Annotation:3" Namespace="openmicroscopy.org/omero/dimension/modulo">
        <o:Value><Modulo><ModuloAlongZ Type="angle" Start="0" End="90" Step="45"/></Modulo></o:Value>
        </o:XMLAnnotation></o:StructuredAnnotations></o:OME>"#;

    #[test]
    fn a_document_says_where_planes_are() {
        let ome = Ome::parse(TEXT).unwrap();
        assert_eq!(ome.uuid.as_deref(), Some("urn:uuid:1"));
        let image = &ome.images[0];
        assert_eq!(image.name.as_deref(), Some("a & b"));
        assert_eq!(image.order, ['t', 'c', 'z']);
        assert_eq!(image.sizes[&'c'], 3);
        assert_eq!(image.steps[&'x'], (0.5, "µm".to_owned()));
        assert_eq!(image.steps[&'z'], (2.0, "nm".to_owned()));
        assert!(!image.steps.contains_key(&'t'));
        assert_eq!(image.origins[&'x'], Some((1.5, "mm".to_owned())));
        assert_eq!((&image.origins[&'y'], &image.origins[&'z']), (&None, &Some((-3.0, "nm".to_owned()))));
        assert_eq!(image.channels[0].name.as_deref(), Some("DAPI"));
        assert_eq!([0, 1].map(|c| image.channels[c].wavelength), [Some(461.0), None]);
        let data = &image.tiff_data[0];
        assert_eq!((data.ifd, data.count, data.first('c')), (Some(3), Some(2), 1));
        assert_eq!((data.file.as_deref(), data.uuid.as_deref()), (Some("b.ome.tif"), Some("urn:uuid:2")));
        assert_eq!(image.tiff_data[1], TiffData::default());
        let modulo = &ome.modulo["Annotation:3"][0];
        assert_eq!((modulo.along, modulo.name.as_str(), modulo.length), ('z', "angle", 3));
    }

    #[test]
    fn broken_documents_are_said_to_be() {
        for text in ["", "<OME", "<OME><Image>", "<a/>", "<OME></Image></OME>", &TEXT[..TEXT.len() - 20]] {
            assert!(Ome::parse(text).is_err(), "{text}");
        }
        let deep = "<OME>".repeat(100_000);
        assert!(Ome::parse(&deep).is_err());
        let no_order = TEXT.replace("XYZCT", "XYZC");
        assert!(Ome::parse(&no_order).is_err());
    }
}
