//! What the attributes of a variable in a NetCDF or HDF5 file, or of a Zarr array, mean by the CF conventions: which
//! variable is meant, what its dimensions are, dates, and packed values. Pure: knows no file.

use multiversion::multiversion;

use super::{Info, Note, NoteKind, OpenOptions, Unpack};
use crate::axis::{Axis, Calibration, Provenance, unnamed};
use crate::block::{Buffer, Target, size_bytes};
use crate::dtype::{DType, swap_bytes};
use crate::error::{Error, Result, nearest};
use crate::grid::Region;
use crate::{unit, with_class, with_dtype};

mod dates;

/// Longest axis whose coordinates are read.
const MOST_COORDINATES: u64 = 1 << 20;

/// Attributes with the scale and the offset by which values are packed, and with values that stand for none.
const PACKING: [&str; 2] = ["scale_factor", "add_offset"];
const MISSING: [&str; 2] = ["_FillValue", "missing_value"];

/// Integers with a sign, and those of the same size without.
const SIGNS: [(DType, DType); 4] = [
    (DType::Int8, DType::Uint8),
    (DType::Int16, DType::Uint16),
    (DType::Int32, DType::Uint32),
    (DType::Int64, DType::Uint64),
];

/// What an attribute holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Attribute {
    Text(String),
    Numbers(Vec<f64>),
}

/// A variable as its file describes it.
#[derive(Clone, Debug, Default)]
pub(super) struct Variable {
    /// With the groups it lies in: `forecast/t2m`.
    pub(super) name: String,
    /// Names, where there are any, and lengths of its dimensions.
    pub(super) dims: Vec<(Option<String>, u64)>,
    /// Type of its elements; `None` for text and compounds, which are not read.
    pub(super) dtype: Option<DType>,
    pub(super) attributes: Vec<(String, Attribute)>,
    /// Whether it says what the indices of a dimension are.
    pub(super) is_scale: bool,
}

impl Variable {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).and_then(|(_, value)| match value {
            Attribute::Text(text) => Some(text.trim()),
            Attribute::Numbers(_) => None,
        })
    }

    /// Numbers of an attribute, those of text among them: `0.01`.
    pub(super) fn numbers(&self, name: &str) -> Vec<f64> {
        let found = self.attributes.iter().find(|(key, _)| key == name);
        found.map_or(Vec::new(), |(_, value)| match value {
            Attribute::Numbers(numbers) => numbers.clone(),
            Attribute::Text(text) => text.trim().parse().into_iter().collect(),
        })
    }

    /// An attribute among `names` that is to be a number and is none, and its text.
    fn no_number<'a>(&'a self, names: &[&'a str]) -> Option<(&'a str, &'a str)> {
        let text = |name: &&'a str| Some((*name, self.text(name)?)).filter(|_| self.numbers(name).is_empty());
        names.iter().find_map(text)
    }

    /// The type of its elements, which may be said to be without a sign, or with one.
    pub(super) fn element(&self) -> Option<DType> {
        let said = self.text("_Unsigned").unwrap_or_default().to_lowercase();
        self.dtype.map(|dtype| {
            let of_sign = SIGNS.iter().find_map(|&(signed, unsigned)| match said.as_str() {
                "true" if dtype == signed => Some(unsigned),
                "false" if dtype == unsigned => Some(signed),
                _ => None,
            });
            of_sign.unwrap_or(dtype)
        })
    }

    /// Values that stand for none, as elements: -1 is 255 where bytes are said to be without a sign.
    fn missing(&self) -> Vec<f64> {
        let stated = MISSING.iter().flat_map(|name| self.numbers(name));
        let Some(dtype) = self.element().filter(|element| Some(*element) != self.dtype) else {
            return stated.collect();
        };
        let all = 2f64.powi(8 * dtype.size() as i32);
        let as_element = |value: f64| match dtype.is_unsigned() {
            true if value < 0.0 => value + all,
            false if value >= all / 2.0 => value - all,
            _ => value,
        };
        stated.map(as_element).collect()
    }

    /// The variable in words: `t2m (time=4, latitude=721, longitude=1440) int16, 2 metre temperature in K`.
    fn words(&self) -> String {
        let dim = |(name, length): &(Option<String>, u64)| match name {
            Some(name) => format!("{name}={length}"),
            None => length.to_string(),
        };
        let dims: Vec<String> = self.dims.iter().map(dim).collect();
        let dtype = self.element().map_or("not of numbers".to_owned(), |dtype| dtype.to_string());
        let long =
            self.text("long_name").or(self.text("standard_name")).map_or(String::new(), |name| format!(", {name}"));
        let unit = self.text("units").map_or(String::new(), |unit| format!(" in {unit}"));
        format!("{} ({}) {dtype}{long}{unit}", self.name, dims.join(", "))
    }

    fn is_coordinate(&self) -> bool {
        let own = self.name.rsplit('/').next();
        self.is_scale || (matches!(&self.dims[..], [(dim, _)] if dim.as_deref() == own && own.is_some()))
    }
}

/// The one of `variables` that `options` mean, or else the only one that is no coordinate, and all of them in words,
/// that one first, if there are several.
///
/// # Errors
/// `Usage` if there is a choice to make, listing them; `Unsupported` if it is not of numbers.
pub(super) fn choose(variables: &[Variable], options: &OpenOptions) -> Result<(usize, Vec<String>)> {
    let about_others = |variable: &Variable| {
        let own = variable.name.rsplit('/').next().unwrap_or_default();
        variables.iter().any(|other| {
            let names = ["bounds", "coordinates", "grid_mapping", "ancillary_variables", "climatology"];
            names.iter().filter_map(|key| other.text(key)).any(|text| text.split(' ').any(|name| name == own))
        })
    };
    let is_data = |variable: &Variable| {
        variable.dtype.is_some() && !variable.dims.is_empty() && !variable.is_coordinate() && !about_others(variable)
    };
    let data: Vec<usize> = (0..variables.len()).filter(|&i| is_data(&variables[i])).collect();
    let lines = |list: &[usize]| list.iter().map(|&i| format!("\n  {}", variables[i].words())).collect::<String>();
    let chosen = match &options.variable {
        Some(name) => {
            let found = variables
                .iter()
                .position(|v| v.name == *name || v.name.trim_start_matches('/') == name.trim_matches('/'));
            let ends = |v: &&Variable| v.name.rsplit('/').next() == Some(name);
            let by_end = || match &variables.iter().filter(ends).collect::<Vec<_>>()[..] {
                [one] => variables.iter().position(|v| v.name == one.name),
                _ => None,
            };
            found.or_else(by_end).ok_or_else(|| {
                let near = nearest(name, variables.iter().map(|v| v.name.as_str()));
                let near = near.map_or(String::new(), |near| format!(" (do you mean {near}?)"));
                Error::usage(format!("there is no variable '{name}'{near}; there are:{}", lines(&data)))
            })?
        }
        None => match &data[..] {
            [one] => *one,
            [] => return Err(Error::unsupported("holds no variable of numbers with axes")),
            many => {
                let most = many.iter().map(|&i| variables[i].dims.len()).max().unwrap_or(0);
                let full: Vec<usize> = many.iter().copied().filter(|&i| variables[i].dims.len() == most).collect();
                match &full[..] {
                    [one] => *one,
                    _ => {
                        let first = &variables[many[0]].name;
                        let what =
                            format!("holds several variables: choose one, as with --variable {first}:{}", lines(many));
                        return Err(Error::usage(what));
                    }
                }
            }
        },
    };
    if variables[chosen].dtype.is_none() {
        return Err(Error::unsupported(format!("{}: only numbers are read", variables[chosen].words())));
    }
    let others = data.iter().copied().filter(|&i| i != chosen);
    let mut series: Vec<String> = std::iter::once(chosen).chain(others).map(|i| variables[i].words()).collect();
    series.truncate(if series.len() > 1 { 64 } else { 0 });
    Ok((chosen, series))
}

/// What is known of a variable's dimensions.
pub(super) struct Dimensions {
    pub(super) axes: Vec<Axis>,
    /// The calendar of its dates, if it has any.
    pub(super) calendar: Option<String>,
    pub(super) notes: Vec<Note>,
}

/// The axes of `variable`, with what the coordinate variables among `all` say of them; `numbers` reads one of these.
///
/// # Errors
/// What `numbers` refuses.
pub(super) fn dimensions(
    variable: &Variable,
    all: &[Variable],
    numbers: &dyn Fn(usize) -> Result<Vec<f64>>,
) -> Result<Dimensions> {
    let mut found = Dimensions { axes: Vec::new(), calendar: None, notes: Vec::new() };
    let rank = variable.dims.len();
    let mut renamed = Vec::new();
    let group = variable.name.rsplit_once('/').map_or("", |(group, _)| group);
    for (i, (dim, length)) in variable.dims.iter().enumerate() {
        let places = dim.as_deref().map(|dim| [format!("{group}/{dim}"), dim.to_owned()]);
        let is_scale = |v: &Variable| {
            places.as_ref().is_some_and(|p| p.contains(&v.name)) && matches!(v.dims[..], [(_, n)] if n == *length)
        };
        let scale = all.iter().position(|v| is_scale(v) && v.dtype.is_some());
        let taken = |name: &str| found.axes.iter().any(|axis: &Axis| axis.name == name);
        let usual = dim
            .as_deref()
            .map_or_else(|| Some(unnamed(i, rank)), |dim| usual_name(dim, scale.map(|k| &all[k])).map(str::to_owned));
        let others = variable.dims.iter().filter_map(|(other, _)| other.as_deref());
        let usual = usual
            .filter(|name| !taken(name) && others.clone().all(|other| other != name || Some(other) == dim.as_deref()));
        let name = usual.or_else(|| dim.clone().filter(|dim| !taken(dim))).unwrap_or_else(|| format!("dim_{i}"));
        if let Some(dim) = dim.as_deref().filter(|dim| *dim != name) {
            renamed.push(format!("{name} ({dim})"));
        }
        let mut axis = Axis::new(name, *length);
        if let Some(k) = scale.filter(|_| *length <= MOST_COORDINATES) {
            describe(&mut axis, &all[k], numbers(k)?, &mut found);
        }
        found.axes.push(axis);
    }
    if !renamed.is_empty() {
        found.notes.push(Note::new(NoteKind::PagesRenamed, format!("the axes are {}", renamed.join(", "))));
    }
    Ok(found)
}

/// The name that everything else knows a dimension by: `t`, `z`, `y` or `x`.
fn usual_name(dim: &str, scale: Option<&Variable>) -> Option<&'static str> {
    let text = |name: &str| scale.and_then(|scale| scale.text(name)).unwrap_or_default();
    let (axis, standard, units) = (text("axis").to_uppercase(), text("standard_name"), text("units"));
    if axis == "T" || standard == "time" || units.contains(" since ") {
        return Some("t");
    }
    if axis == "Y" || matches!(standard, "latitude" | "projection_y_coordinate") || units.starts_with("degrees_n") {
        return Some("y");
    }
    if axis == "X" || matches!(standard, "longitude" | "projection_x_coordinate") || units.starts_with("degrees_e") {
        return Some("x");
    }
    if axis == "Z" || !text("positive").is_empty() || matches!(units, "hPa" | "Pa" | "millibars" | "mbar") {
        return Some("z");
    }
    crate::axis::short_name(dim)
}

/// What a coordinate variable says of its axis: a place for every index, and dates as labels.
fn describe(axis: &mut Axis, scale: &Variable, values: Vec<f64>, found: &mut Dimensions) {
    let units = scale.text("units").unwrap_or_default();
    let (mut values, mut unit) = (values, Some(units).filter(|units| !units.is_empty()).map(unit_name));
    if units.contains(" since ") {
        let calendar = scale.text("calendar").unwrap_or("standard").to_lowercase();
        match dates::decode(units, &calendar, &values) {
            Ok((seconds, labels)) => {
                (values, unit) = (seconds, Some("second".to_owned()));
                axis.labels = Some(labels);
                found.calendar = Some(calendar);
            }
            Err(why) => {
                let text = format!("{} of axis {} stay numbers: {why}", scale.name, axis.name);
                found.notes.push(Note::new(NoteKind::DescriptionUnused, text));
            }
        }
    }
    if values.iter().any(|value| !value.is_finite()) || values.is_empty() {
        return;
    }
    let step = (values[values.len() - 1] - values[0]) / (values.len() - 1).max(1) as f64;
    axis.calibration = Some(Calibration { step, unit, from: Provenance::Coordinates });
    axis.coordinates = Some(values);
}

/// UDUNITS name of a unit of the conventions; others are kept as they are.
fn unit_name(units: &str) -> String {
    match units {
        _ if units.starts_with("degrees_") || units.starts_with("degree_") => "degree".to_owned(),
        _ => unit::named(units).unwrap_or(units).to_owned(),
    }
}

/// How a variable's values lie in the file, and what becomes of them.
#[derive(Clone, Debug)]
pub(super) struct Form {
    pub(super) stored: DType,
    /// Whether bytes lie in the other order than the machine's.
    pub(super) swapped: bool,
    unpacking: Option<Unpacking>,
}

/// What `--unpack` makes of stored values.
#[derive(Clone, Debug)]
struct Unpacking {
    scale: f64,
    offset: f64,
    /// Values that stand for none.
    missing: Vec<f64>,
    given: DType,
    /// What these become; if `None`, they are refused.
    hole: Option<f64>,
}

impl Form {
    /// Values as they are stored.
    pub(super) fn plain(stored: DType, swapped: bool) -> Self {
        Self { stored, swapped: swapped && stored.size() > 1, unpacking: None }
    }

    /// Values of `variable`, unpacked as asked.
    ///
    /// # Errors
    /// `Format` if they are to be, and a scale or an offset is no number.
    pub(super) fn of(variable: &Variable, stored: DType, swapped: bool, unpack: Option<Unpack>) -> Result<Self> {
        if let Some((name, text)) = variable.no_number(&PACKING).filter(|_| unpack.is_some()) {
            return Err(Error::format(format!(
                "{name} '{text}' is no number: without --unpack values stay as they are"
            )));
        }
        let unpacking = unpack.filter(|_| !stored.is_complex()).and_then(|unpack| {
            let [scale, offset] = packing(variable);
            let missing = variable.missing();
            if scale.is_none() && offset.is_none() && missing.is_empty() {
                return None;
            }
            // As the numbers that unpack are of 64 bits, so is what they make, unless values are floats as they are.
            let packed = scale.is_some() || offset.is_some();
            let given = match stored {
                DType::Float16 | DType::Float32 | DType::Float64 if !packed => stored,
                _ if !packed && stored.size() <= 2 => DType::Float32,
                _ => DType::Float64,
            };
            let hole = unpack.hole;
            Some(Unpacking { scale: scale.unwrap_or(1.0), offset: offset.unwrap_or(0.0), missing, given, hole })
        });
        Ok(Self { unpacking, ..Self::plain(stored, swapped) })
    }

    /// Type of the elements that are given.
    pub(super) fn given(&self) -> DType {
        self.unpacking.as_ref().map_or(self.stored, |unpacking| unpacking.given)
    }

    /// Whether elements lie in the file as they are given, but for the order of bytes.
    pub(super) fn is_plain(&self) -> bool {
        self.unpacking.is_none()
    }

    /// Turns bytes of stored elements, aligned for these, into the machine's order.
    pub(super) fn settle(&self, stored: &mut [u8]) {
        if self.swapped {
            swap_bytes(stored, self.stored.swap_size());
        }
    }

    /// Gives `region` of a box of `shape` with the elements `stored`, in the machine's order, to `part`; `rooms` are two
    /// blocks between.
    ///
    /// # Errors
    /// As [`Form::give`].
    pub(super) fn give_part(
        &self,
        stored: &[u8],
        shape: &[u64],
        region: &Region,
        part: &mut Target<'_>,
        [own, given]: [&mut Buffer; 2],
    ) -> Result<()> {
        if self.is_plain() {
            part.paste_part(stored, shape, region);
            return Ok(());
        }
        let own_bytes = own.sized(size_bytes(&region.shape, self.stored) as usize);
        Target::dense(own_bytes, &region.shape, self.stored).paste_part(stored, shape, region);
        let out = given.sized(size_bytes(&region.shape, self.given()) as usize);
        self.give(own.bytes(), out)?;
        part.paste(out);
        Ok(())
    }

    /// One element as it is given, of `stored` bytes in the machine's order; `None` if that is missing, which is refused.
    pub(super) fn one(&self, stored: &[u8]) -> Option<Vec<u8>> {
        let (mut own, mut given) = (Buffer::default(), Buffer::default());
        own.sized(stored.len()).copy_from_slice(stored);
        let out = given.sized(self.given().size());
        self.give(own.bytes(), out).ok().map(|()| out.to_vec())
    }

    /// Elements from `stored` ones in the machine's order; both are aligned.
    ///
    /// # Errors
    /// `Usage` where a value is missing and that is refused.
    pub(super) fn give(&self, stored: &[u8], out: &mut [u8]) -> Result<()> {
        let Some(how) = &self.unpacking else {
            out.copy_from_slice(stored);
            return Ok(());
        };
        let n_missing = with_class!(how.given, int T => unreachable!("unpacked values are floats: {}", size_of::<T>()),
            float T => {
                let out: &mut [T] = bytemuck::cast_slice_mut(out);
                with_dtype!(self.stored, S => unpack::<S, T>(bytemuck::cast_slice(stored), out, how))
            },
            complex T => unreachable!("unpacked values are real: {}", size_of::<T>()));
        if n_missing > 0 && how.hole.is_none() {
            return Err(Error::usage(
                "holds missing values (_FillValue): --missing fill makes them NaN, or what --fill-value says; \
                 --missing skip leaves them out of what is reduced",
            ));
        }
        Ok(())
    }
}

/// The fill value that [`Form::one`] gave, for what is not stored.
///
/// # Errors
/// `Usage` if it is missing, which is refused.
pub(super) fn fill_of(fill: Option<&[u8]>) -> Result<&[u8]> {
    fill.ok_or_else(|| Error::usage("is not stored, so has missing values: --missing fill makes them NaN"))
}

/// A stored number.
trait Packed: bytemuck::Pod + PartialEq {
    fn number(self) -> f64;
    /// The number, if it is one of this type.
    fn exactly(number: f64) -> Option<Self>;
}

/// A float that unpacked values are given as.
trait Unpacked: bytemuck::Pod {
    fn from_number(number: f64) -> Self;
}

macro_rules! packed {
    ($($t:ty)*) => {$(
        impl Packed for $t {
            #[inline(always)]
            fn number(self) -> f64 {
                self as f64
            }
            fn exactly(number: f64) -> Option<Self> {
                let own = number as $t;
                (own as f64 == number || number.is_nan() && own as f64 != own as f64).then_some(own)
            }
        }
    )*};
}
packed!(u8 u16 u32 u64 i8 i16 i32 i64 f32 f64);

impl Packed for half::f16 {
    fn number(self) -> f64 {
        self.to_f64()
    }
    fn exactly(number: f64) -> Option<Self> {
        Some(Self::from_f64(number)).filter(|own| own.to_f64() == number)
    }
}

impl<T: bytemuck::Pod + PartialEq> Packed for crate::dtype::Complex<T>
where
    Self: bytemuck::Pod,
{
    fn number(self) -> f64 {
        f64::NAN
    }
    fn exactly(_: f64) -> Option<Self> {
        None
    }
}

macro_rules! unpacked {
    ($($t:ty)*) => {$(
        impl Unpacked for $t {
            #[inline(always)]
            fn from_number(number: f64) -> Self {
                number as $t
            }
        }
    )*};
}
unpacked!(f32 f64);

impl Unpacked for half::f16 {
    fn from_number(number: f64) -> Self {
        Self::from_f64(number)
    }
}

/// Unpacks, and counts what is missing.
fn unpack<S: Packed, T: Unpacked>(stored: &[S], out: &mut [T], how: &Unpacking) -> u64 {
    // A missing value that the type cannot hold exactly is met as the nearest that it can: 1e20 in float32.
    let nearest = |m: f64| S::exactly(m).or_else(|| S::exactly(f64::from(m as f32)));
    let missing: Vec<S> = how.missing.iter().filter_map(|&m| nearest(m)).collect();
    let hole = how.hole.unwrap_or(f64::NAN);
    match missing[..] {
        [] => scale(stored, out, how.scale, how.offset),
        [one] => return scale_but(stored, out, (how.scale, how.offset), one, hole),
        [one, other] if one == other => return scale_but(stored, out, (how.scale, how.offset), one, hole),
        _ => {
            scale(stored, out, how.scale, how.offset);
            let mut n_missing = 0;
            for (_, out) in stored.iter().zip(&mut *out).filter(|(value, _)| missing.contains(value)) {
                *out = T::from_number(hole);
                n_missing += 1;
            }
            return n_missing;
        }
    }
    0
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn scale<S: Packed, T: Unpacked>(stored: &[S], out: &mut [T], scale: f64, offset: f64) {
    for (value, out) in stored.iter().zip(out) {
        *out = T::from_number(value.number() * scale + offset);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn scale_but<S: Packed, T: Unpacked>(
    stored: &[S],
    out: &mut [T],
    (scale, offset): (f64, f64),
    missing: S,
    hole: f64,
) -> u64 {
    let mut n_missing = 0u64;
    for (value, out) in stored.iter().zip(out) {
        let is_missing = *value == missing;
        n_missing += u64::from(is_missing);
        *out = T::from_number(if is_missing { hole } else { value.number() * scale + offset });
    }
    n_missing
}

/// What headers say of `variable`, as far as its attributes tell.
pub(super) fn info(variable: &Variable, found: Dimensions, options: &OpenOptions) -> Info {
    let Dimensions { axes, calendar, mut notes } = found;
    if let Some((name, text)) = variable.no_number(&[&PACKING[..], &MISSING].concat()) {
        let text = format!("{name} '{text}' of {} is no number and not used", variable.name);
        notes.push(Note::new(NoteKind::DescriptionUnused, text));
    }
    let packing = match packing(variable) {
        [None, None] => None,
        [scale, offset] => Some((scale.unwrap_or(1.0), offset.unwrap_or(0.0))),
    };
    let packing = packing.filter(|_| options.unpack.is_none());
    let fill = variable.missing().first().copied().filter(|_| !variable.numbers("_FillValue").is_empty());
    let unit = variable.text("units").map_or(String::new(), |unit| format!(" in {unit}"));
    if packing.is_some() {
        let text = format!("values of {} are packed and stay as they are: --unpack gives them{unit}", variable.name);
        notes.push(Note::new(NoteKind::OffsetNotApplied, text));
    } else if let Some(fill) = fill.filter(|fill| options.unpack.is_none() && !fill.is_nan()) {
        let text = format!("{fill} where {} has no value stays as it is: --unpack makes it NaN", variable.name);
        notes.push(Note::new(NoteKind::NoData, text));
    }
    let dtype = variable.element().unwrap_or(DType::Float64);
    Info { notes, calendar, packing, ..Info::of(axes, dtype) }
}

/// Scale and offset by which the values of `variable` are packed.
fn packing(variable: &Variable) -> [Option<f64>; 2] {
    PACKING.map(|name| variable.numbers(name).first().copied())
}
