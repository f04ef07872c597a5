//! What a viewer shows of our OME-Zarr: neuroglancer, in a browser without a screen.

use std::path::{Path, PathBuf};

use crate::common::tempdir;
use crate::common::{self, run};
use run::Succeeds as _;

/// A Chromium, under one of its names.
fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let named = |folder: PathBuf| {
        ["chromium", "chromium-browser", "google-chrome"].into_iter().map(move |name| folder.join(name))
    };
    std::env::split_paths(&path).flat_map(named).find(|file| file.is_file())
}

#[test]
fn a_viewer_shows_the_specimen_and_the_names_of_its_channels() {
    let Some(browser) = browser() else { return common::skipped("no Chromium to look with") };
    if common::interpreter().is_none() {
        return;
    }
    let folder = tempdir().unwrap();
    common::python("viewer.py", &[Path::new("make"), folder.path()]);
    let sizes = ["--channel-names", "DAPI,GFP", "--voxel-size", "z=1um,y=0.2um,x=0.2um"];
    for (format, name) in [("3", "v5.zarr"), ("2", "v4.zarr")] {
        let pile = ["stitch", "spec_c0.tif", "spec_c1.tif", "--pages", "z", "-q", "--zarr-format", format, "-o", name];
        run::stackctl(folder.path()).args(pile).args(sizes).succeeds();
    }
    let names = [Path::new("v5.zarr"), Path::new("v4.zarr")];
    common::python("viewer.py", &[&[Path::new("look"), &browser, folder.path()][..], &names].concat());
}
