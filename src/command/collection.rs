//! Many arrays in one Zarr: images that are built one after the other in a private place, which gets its name when all
//! of them are there.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::bytes::Watch;
use crate::cli::StitchArgs;
use crate::error::{Error, Result};
use crate::sink::zarr::{self, Collection, ZarrFormat};
use crate::store::{self, OutputKind, check_free};

/// What was asked for, so that another run goes on with the same alone.
const JOB: &str = ".job";

/// A collection under construction.
pub(super) struct Building<'a> {
    output: &'a Path,
    folder: PathBuf,
    overwrite: bool,
    collection: Collection,
    job: Value,
}

impl<'a> Building<'a> {
    /// The collection that `args` ask for, of arrays with the `values` of the fields it is divided by.
    ///
    /// # Errors
    /// `Usage` if the fields make none, or something stands under the name; `Io` if an input cannot be looked at.
    pub(super) fn new(args: &'a StitchArgs, values: &[Vec<String>], inputs: &[PathBuf]) -> Result<Self> {
        let fields: Vec<&str> = args.by.iter().flat_map(|by| by.split(',')).map(str::trim).collect();
        let output = args.output.as_path();
        if crate::sink::extension(output) != "zarr" {
            return Err(Error::usage(format!("{}: a collection is a folder that ends in .zarr", output.display())));
        }
        check_free(output, args.overwrite, OutputKind::Folder(zarr::is_zarr))?;
        let name = output.file_stem().unwrap_or_default().to_string_lossy();
        let folder = output.with_file_name(format!(".{name}.partial.zarr"));
        let asked = format!("{:?}", (&args.by, &args.select, &args.names, &args.storage));
        let inputs = Watch::new(inputs.to_vec())?.fingerprint()?;
        let job = json!({"version": env!("CARGO_PKG_VERSION"), "asked": asked, "inputs": inputs});
        let collection = Collection::new(&fields, values)?;
        Ok(Self { output, folder, overwrite: args.overwrite, collection, job })
    }

    /// Makes the private place, or goes on with the one that an earlier run left.
    ///
    /// # Errors
    /// `Usage` if that was another job; `Io`.
    pub(super) fn begin(&self, restart: bool) -> Result<()> {
        let failed = |e| Error::io(&self.folder, "cannot make the folder", e);
        if restart && self.folder.exists() {
            fs::remove_dir_all(&self.folder).map_err(failed)?;
        }
        fs::create_dir_all(&self.folder).map_err(failed)?;
        let path = self.folder.join(JOB);
        match fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok()) {
            Some(known) if known != self.job => Err(Error::usage(format!(
                "{}: an earlier run is unfinished that was another job: give the same command as then, or begin anew \
                 with --restart",
                self.output.display()
            ))),
            Some(_) => Ok(()),
            None => store::replace(&path, self.job.to_string().as_bytes()),
        }
    }

    /// Where image number `i` is built, and where it will stand.
    pub(super) fn place(&self, i: usize) -> (PathBuf, PathBuf) {
        let path = self.collection.path(i);
        (self.folder.join(&path), self.output.join(&path))
    }

    /// What it is, in words.
    pub(super) fn words(&self) -> String {
        self.collection.words()
    }

    /// Describes the collection and gives it its name.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn finish(self, format: ZarrFormat) -> Result<()> {
        let name = self.output.file_stem().unwrap_or_default().to_string_lossy();
        self.collection.describe(&self.folder, name.trim_end_matches(".ome"), format)?;
        // A run that was killed between an image's name and its end leaves its private place.
        for i in 0..self.collection.len() {
            store::forget(&self.place(i).0)?;
        }
        let job = self.folder.join(JOB);
        fs::remove_file(&job).map_err(|e| Error::io(&job, "cannot remove", e))?;
        store::put_in_place(&self.folder, self.output, self.overwrite)
    }
}
