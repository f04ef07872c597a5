//! Formats that are met in the same folders and are not read: what they are, and what makes something readable of them.

use std::path::Path;

/// Extensions, lower case without dot, what the format is, and what converts it.
const FOREIGN: &[(&[&str], &str, &str)] = &[
    (&["czi"], "Zeiss CZI", BIOFORMATS),
    (&["nd2"], "Nikon ND2", BIOFORMATS),
    (&["lif", "lof", "xlif"], "Leica LIF", BIOFORMATS),
    (&["oib", "oif", "oir", "vsi"], "Olympus/Evident", BIOFORMATS),
    (&["dv", "r3d", "sld", "zvi", "ics", "ids", "mvd2", "spe"], "a microscope's own format", BIOFORMATS),
    #[cfg(not(feature = "hdf5"))]
    (&["ims", "h5", "hdf5", "hdf", "he5", "nc4"], "HDF5", "a stackctl built with its feature hdf5 reads it"),
    (&["dm3", "dm4", "mrc", "ser", "emd"], "an electron microscope's format", BIOFORMATS),
    (&["n5"], "N5", "write its arrays as Zarr, in Python with 'zarr.save(name, ..)'"),
    (&["dcm", "dicom"], "DICOM", BIOFORMATS),
    (
        &["png", "jpg", "jpeg", "bmp", "gif", "jp2", "webp", "jxl"],
        "a picture format",
        "convert it to TIFF, as with ImageMagick's 'magick mogrify -format tif'",
    ),
];

const BIOFORMATS: &str =
    "convert it with Bio-Formats: 'bfconvert in out.ome.tif' gives TIFF, 'bioformats2raw in out.zarr' Zarr";

/// What the format of a file called so is, and the way out, if it is known and not read.
pub(super) fn known(path: &Path) -> Option<String> {
    let extension = path.extension()?.to_string_lossy().to_lowercase();
    let (_, what, way_out) = FOREIGN.iter().find(|(extensions, ..)| extensions.contains(&extension.as_str()))?;
    Some(format!(".{extension} is {what}, which is not read: {way_out}"))
}
