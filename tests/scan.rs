//! From what the user named to files: folders, globs and lists.

use std::fs;
use std::path::PathBuf;

use stackctl::source::scan::{Found, Inputs, scan};

fn names(found: &Found) -> Vec<String> {
    found.paths.iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

fn touch(path: PathBuf) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "").unwrap();
}

#[test]
fn directories_globs_and_lists_give_one_natural_order() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a10.tif", "a9.TIFF", "b/a1.tif", "notes.txt", ".hidden.tif", ".partial/x.tif"] {
        touch(dir.path().join(name));
    }
    let root = dir.path().to_string_lossy().into_owned();
    let all = scan(&Inputs { named: vec![root.clone()], ..Inputs::default() }).unwrap();
    assert_eq!(names(&all), ["a9.TIFF", "a10.tif", "a1.tif"]);

    let twice = vec![root.clone(), format!("{root}/a10.tif"), format!("{root}/*.tif")];
    assert_eq!(names(&scan(&Inputs { named: twice, ..Inputs::default() }).unwrap()).len(), 3);

    let list = dir.path().join("list");
    fs::write(&list, format!("{root}/a10.tif\0{root}/a9.TIFF\0")).unwrap();
    let listed = scan(&Inputs { files_from: Some(list.clone()), ..Inputs::default() }).unwrap();
    assert_eq!(names(&listed), ["a9.TIFF", "a10.tif"]);
    fs::write(&list, format!("\u{feff}{root}/a10.tif\r\n\n{root}/a9.TIFF")).unwrap();
    assert_eq!(scan(&Inputs { files_from: Some(list), ..Inputs::default() }).unwrap(), listed);

    let exclude = Inputs { named: vec![root], exclude: vec!["a1.*".into()], ..Inputs::default() };
    let kept = scan(&exclude).unwrap();
    assert_eq!((names(&kept).len(), kept.n_left_out), (2, 1));
    let none = Inputs { include: vec!["*.png".into()], ..exclude };
    assert!(scan(&none).unwrap_err().to_string().contains("leave none"));
}

#[test]
fn what_is_not_there_is_said() {
    let fails = |input: &str| scan(&Inputs { named: vec![input.into()], ..Inputs::default() }).unwrap_err();
    assert_eq!(fails("/nowhere/a.tif").to_string(), "/nowhere/a.tif: no such file or directory");
    assert_eq!(fails("/nowhere/*.tif").to_string(), "'/nowhere/*.tif' matches no file");
    assert!(fails("/nowhere/[.tif").to_string().contains("is not a glob"));
    assert!(scan(&Inputs::default()).unwrap_err().to_string().starts_with("no input files"));
}
