//! Groups of images: a series of them as bioformats2raw lays it out, a plate of wells, labels beside an image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::ZarrFormat;
use crate::error::{Error, Result};
use crate::store::sums;

/// Where the images of a collection lie in its folder.
pub enum Collection {
    /// By number, with the values that they are told apart by.
    Series(Vec<String>),
    /// By row, column and number of the field.
    Plate(Vec<WellField>),
}

/// One field of a well.
pub struct WellField {
    /// Letters of the row.
    pub row: String,
    /// Digits of the column.
    pub column: String,
    /// Number of the field in its well, from 0.
    pub number: usize,
}

impl Collection {
    /// Images told apart by `fields`, each with its values: a plate if they name wells.
    ///
    /// # Errors
    /// `Usage` if a well has no row and column, or a well has other fields beside.
    pub fn new(fields: &[&str], values: &[Vec<String>]) -> Result<Self> {
        let at = |names: &[&str]| fields.iter().position(|f| names.contains(&f.to_lowercase().as_str()));
        let (well, row, column) = (at(&["well"]), at(&["row"]), at(&["column", "col"]));
        let place = |values: &Vec<String>| -> Result<(String, String)> {
            match (well, row, column) {
                (Some(well), _, _) => split_well(&values[well]),
                (_, Some(row), Some(column)) => Ok((values[row].clone(), values[column].clone())),
                _ => Err(Error::usage("a plate needs --by well, or --by row,column")),
            }
        };
        if well.is_none() && (row.is_none() || column.is_none()) {
            return Ok(Self::Series(values.iter().map(|v| v.join(" ")).collect()));
        }
        let n_places = if well.is_some() { 1 } else { 2 };
        if fields.len() > n_places + 1 {
            return Err(Error::usage(format!(
                "--by {}: a well holds fields alone: leave one of them an axis",
                fields.join(",")
            )));
        }
        let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
        let mut one = |values: &Vec<String>| {
            let (row, column) = place(values)?;
            for part in [&row, &column] {
                if part.is_empty() || !part.chars().all(|c| c.is_ascii_alphanumeric()) {
                    return Err(Error::usage(format!("'{part}': rows and columns of a plate are letters and digits")));
                }
            }
            let n = seen.entry((row.clone(), column.clone())).or_default();
            *n += 1;
            Ok(WellField { row, column, number: *n - 1 })
        };
        values.iter().map(&mut one).collect::<Result<_>>().map(Self::Plate)
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        match self {
            Self::Series(labels) => labels.len(),
            Self::Plate(fields) => fields.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where image number `i` lies.
    pub fn path(&self, i: usize) -> String {
        match self {
            Self::Series(_) => i.to_string(),
            Self::Plate(fields) => format!("{}/{}/{}", fields[i].row, fields[i].column, fields[i].number),
        }
    }

    /// What it is, in words.
    pub fn words(&self) -> String {
        match self {
            Self::Series(labels) => format!("a series of {} images", labels.len()),
            Self::Plate(fields) => {
                let wells: BTreeSet<_> = fields.iter().map(|f| (&f.row, &f.column)).collect();
                format!("a plate of {} wells with {} fields", wells.len(), fields.len())
            }
        }
    }

    /// Writes the metadata of all groups, the root's last.
    ///
    /// # Errors
    /// `Io`.
    pub fn describe(&self, folder: &Path, name: &str, format: ZarrFormat) -> Result<()> {
        let root = match self {
            Self::Series(labels) => {
                let paths: Vec<String> = (0..labels.len()).map(|i| i.to_string()).collect();
                group(&folder.join("OME"), format, json!({"series": paths}))?;
                json!({"bioformats2raw.layout": 3})
            }
            Self::Plate(fields) => plate(folder, name, format, fields)?,
        };
        group(folder, format, root)
    }
}

/// `B03` as row and column.
fn split_well(well: &str) -> Result<(String, String)> {
    let at = well.find(|c: char| c.is_ascii_digit()).filter(|&at| at > 0);
    let (row, column) = at.map(|at| well.split_at(at)).ok_or_else(|| {
        Error::usage(format!("'{well}' is no well: a row in letters and a column in digits, such as B03"))
    })?;
    Ok((row.to_owned(), column.to_owned()))
}

/// Writes rows and wells, and gives what the root says of them.
fn plate(folder: &Path, name: &str, format: ZarrFormat, fields: &[WellField]) -> Result<Value> {
    let natural = |all: BTreeSet<&String>| -> Vec<String> {
        let mut all: Vec<String> = all.into_iter().cloned().collect();
        all.sort_by(|a, b| crate::pattern::natural_cmp(a, b));
        all
    };
    let rows = natural(fields.iter().map(|f| &f.row).collect());
    let columns = natural(fields.iter().map(|f| &f.column).collect());
    let mut wells: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for field in fields {
        let index = |all: &[String], one: &String| all.iter().position(|a| a == one).unwrap_or(0);
        wells.entry((index(&rows, &field.row), index(&columns, &field.column))).or_default().push(field.number);
    }
    let mut listed = Vec::new();
    for ((row, column), numbers) in &wells {
        let path = format!("{}/{}", rows[*row], columns[*column]);
        let images: Vec<Value> = numbers.iter().map(|n| json!({"path": n.to_string()})).collect();
        group(&folder.join(&path), format, json!({"well": with_version(json!({"images": images}), format)}))?;
        listed.push(json!({"path": path, "rowIndex": row, "columnIndex": column}));
    }
    for row in &rows {
        group(&folder.join(row), format, Value::Null)?;
    }
    let named = |all: &[String]| all.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
    let most = wells.values().map(Vec::len).max().unwrap_or(0);
    let plate = json!({"name": name, "rows": named(&rows), "columns": named(&columns), "wells": listed,
                       "field_count": most});
    Ok(json!({"plate": with_version(plate, format)}))
}

/// In NGFF 0.4 plates and wells state the version themselves.
fn with_version(mut value: Value, format: ZarrFormat) -> Value {
    if format == ZarrFormat::V2 {
        value["version"] = json!("0.4");
    }
    value
}

/// Writes the metadata of a group; `claim` is what OME-NGFF says of it.
fn group(folder: &Path, format: ZarrFormat, claim: Value) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, "cannot make the folder", e))?;
    match format {
        ZarrFormat::V3 => {
            let mut attributes = Map::new();
            if let Value::Object(claim) = claim {
                let version = std::iter::once(("version".to_owned(), json!("0.5")));
                attributes.insert("ome".into(), Value::Object(version.chain(claim).collect()));
            }
            write(&folder.join("zarr.json"), &json!({"zarr_format": 3, "node_type": "group", "attributes": attributes}))
        }
        ZarrFormat::V2 => {
            write(&folder.join(".zgroup"), &json!({"zarr_format": 2}))?;
            if claim.is_null() { Ok(()) } else { write(&folder.join(".zattrs"), &claim) }
        }
    }
}

/// Replaces a document at one blow.
fn write(path: &Path, document: &Value) -> Result<()> {
    let text = serde_json::to_vec_pretty(document).map_err(Error::format)?;
    crate::store::replace(path, &text)
}

/// Whether `path` is the place of a label image in an image's group, `IMAGE.zarr/labels/NAME`.
pub fn is_label(path: &Path) -> bool {
    path.parent().is_some_and(|labels| labels.ends_with("labels") && super::extension_of(labels.parent()) == "zarr")
}

/// Number of levels of the image that a label image at `path` is of, which a label image must have too.
///
/// # Errors
/// `Usage` if there is no such image, or it is of another format; `Format` if its metadata are damaged.
pub fn levels_of_labelled(path: &Path, format: ZarrFormat) -> Result<u64> {
    let image = path.ancestors().nth(2).unwrap_or(path);
    let (own, other) = if format == ZarrFormat::V3 { ("zarr.json", 2) } else { (".zgroup", 3) };
    if !super::is_zarr(image) {
        return Err(Error::usage(format!("{}: there is no image that labels could lie in", image.display())));
    }
    if !image.join(own).is_file() {
        return Err(Error::usage(format!(
            "{}: is of Zarr format {other}, which its labels must share: use --zarr-format {other}",
            image.display()
        )));
    }
    let group = read(&image.join(if format == ZarrFormat::V3 { "zarr.json" } else { ".zattrs" }))?;
    let claim = if format == ZarrFormat::V3 { &group["attributes"]["ome"] } else { &group };
    Ok(claim["multiscales"][0]["datasets"].as_array().map_or(1, |datasets| datasets.len() as u64))
}

/// Makes the folder of the labels of an image.
///
/// # Errors
/// `Io`.
pub fn begin_label(path: &Path) -> Result<()> {
    let labels = path.parent().unwrap_or(path);
    fs::create_dir_all(labels).map_err(|e| Error::io(labels, "cannot make the folder", e))
}

/// Lists a label image that is complete, in its group and in the metadata that the image repeats.
///
/// # Errors
/// `Io`; `Format` if a document is damaged.
pub fn list_label(path: &Path, format: ZarrFormat) -> Result<()> {
    let (Some(labels), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let name = name.to_string_lossy().into_owned();
    let known = read(&labels.join(if format == ZarrFormat::V3 { "zarr.json" } else { ".zattrs" }))?;
    let claim = if format == ZarrFormat::V3 { &known["attributes"]["ome"] } else { &known };
    let mut names: Vec<String> =
        claim["labels"].as_array().into_iter().flatten().filter_map(|n| n.as_str().map(String::from)).collect();
    if !names.contains(&name) {
        names.push(name.clone());
    }
    group(labels, format, json!({"labels": names}))?;
    let Some(image) = labels.parent() else { return Ok(()) };
    let key = if format == ZarrFormat::V3 { "zarr.json" } else { ".zmetadata" };
    let file = image.join(key);
    let mut document = read(&file)?;
    let repeated = match format {
        ZarrFormat::V3 => document.pointer_mut("/consolidated_metadata/metadata"),
        ZarrFormat::V2 => document.pointer_mut("/metadata"),
    };
    let Some(repeated) = repeated.and_then(Value::as_object_mut) else { return Ok(()) };
    repeated.extend(repeats(labels, &name, format)?);
    let before = fs::read(&file).map_err(|e| Error::io(&file, "cannot read", e))?;
    let after = super::settled(&document)?;
    crate::store::replace(&file, &after)?;
    sums::renew(image, key, &before, &after)
}

/// What the metadata of an image repeat of its labels called `name`.
fn repeats(labels: &Path, name: &str, format: ZarrFormat) -> Result<Vec<(String, Value)>> {
    let below = |inner: &Value| -> Vec<(String, Value)> {
        let inner = inner.as_object().into_iter().flatten();
        inner.map(|(key, document)| (format!("labels/{name}/{key}"), document.clone())).collect()
    };
    let folder = labels.join(name);
    if format == ZarrFormat::V2 {
        let own = [".zgroup", ".zattrs"].map(|file| Ok((format!("labels/{file}"), read(&labels.join(file))?)));
        let own = own.into_iter().collect::<Result<Vec<_>>>()?;
        return Ok(own.into_iter().chain(below(&read(&folder.join(".zmetadata"))?["metadata"])).collect());
    }
    let mut group = read(&folder.join("zarr.json"))?;
    let inner = group.as_object_mut().and_then(|g| g.remove("consolidated_metadata")).unwrap_or_default();
    let own = [("labels".to_owned(), read(&labels.join("zarr.json"))?), (format!("labels/{name}"), group)];
    Ok(own.into_iter().chain(below(&inner["metadata"])).collect())
}

/// A document; nothing where there is none.
fn read(path: &Path) -> Result<Value> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| Error::format(format!("{}: {e}", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
        Err(e) => Err(Error::io(path, "cannot read", e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wells_have_rows_and_columns() {
        let values = |all: &[&[&str]]| -> Vec<Vec<String>> {
            all.iter().map(|v| v.iter().map(|t| (*t).to_owned()).collect()).collect()
        };
        let plate =
            Collection::new(&["well", "field"], &values(&[&["B03", "1"], &["B03", "2"], &["AA12", "1"]])).unwrap();
        assert_eq!([0, 1, 2].map(|i| plate.path(i)), ["B/03/0", "B/03/1", "AA/12/0"]);
        assert!(Collection::new(&["well"], &values(&[&["12"]])).is_err());
        assert!(Collection::new(&["well", "field", "t"], &values(&[&["A1", "1", "1"]])).is_err());
        let rows = Collection::new(&["row", "column"], &values(&[&["2", "3"]])).unwrap();
        assert_eq!(rows.path(0), "2/3/0");
        assert_eq!(Collection::new(&["p"], &values(&[&["a"], &["b"]])).unwrap().path(1), "1");
    }
}
