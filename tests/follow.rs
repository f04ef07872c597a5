//! What metadata name is read where the user has pointed to, and elsewhere only where `--follow` says so.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::common::tempdir;
use crate::common::{run, tiff};
use run::{failure, message, read_zarr, stackctl};
use tiff::Layout;

/// Writes `file` as one of two that their OME-XML calls `names`, each of which holds a plane.
fn write(file: &Path, names: [&str; 2], member: usize) {
    let place = |t: usize| {
        let uuid = format!(r#"<UUID FileName="{}">urn:uuid:{t}</UUID>"#, names[t]);
        format!(r#"<TiffData FirstT="{t}" PlaneCount="1">{uuid}</TiffData>"#)
    };
    let pixels = r#"DimensionOrder="XYZCT" Type="uint8" SizeX="4" SizeY="3" SizeZ="1" SizeC="1" SizeT="2""#;
    let (first, second) = (place(0), place(1));
    let text = format!(
        r#"<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{member}">
        <Image ID="Image:0"><Pixels ID="Pixels:0" {pixels}><Channel ID="Channel:0:0"/>{first}{second}</Pixels></Image></OME>"#
    );
    let layout = Layout { width: 4, height: 3, description: Some(text), ..Layout::default() };
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, layout.write(&[vec![member as u8 + 1; 12]])).unwrap();
}

fn stitched(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = stackctl(folder).args(["stitch", "-o", "out.zarr", "-q"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", message(&output));
    let pixels = read_zarr(&folder.join("out.zarr")).1;
    fs::remove_dir_all(folder.join("out.zarr")).unwrap();
    pixels
}

#[test]
fn files_of_a_data_set_are_not_looked_for_elsewhere() {
    let both = [vec![1; 12], vec![2; 12]].concat();
    let folder = tempdir().unwrap();
    let secret = folder.path().join("secret/b.ome.tif");
    let absolute = secret.to_str().unwrap().to_owned();
    let names =
        [("up", "../secret/b.ome.tif"), ("whole", &absolute), ("link", "b.ome.tif"), ("through", "in/b.ome.tif")];
    for (way, name) in names {
        let here = folder.path().join(way);
        write(&here.join("a.ome.tif"), ["a.ome.tif", name], 0);
        write(&secret, ["a.ome.tif", name], 1);
        match way {
            "link" => symlink(&secret, here.join("b.ome.tif")).unwrap(),
            "through" => symlink("../secret", here.join("in")).unwrap(),
            _ => {}
        }
        let input = format!("{way}/a.ome.tif");
        let (code, said) = failure(folder.path(), &["stitch", &input, "-o", "out.zarr"]);
        assert!(code == 2 && said.contains(&format!("'{name}'")) && said.contains("--follow"), "{way}: {said}");
        assert!(!folder.path().join("out.zarr").exists());
        assert_eq!(stitched(folder.path(), &[&input, "--follow"]), both, "{way}");
        if way == "link" {
            // What the user names is meant.
            assert_eq!(stitched(folder.path(), &[&input, "link/b.ome.tif"]), both);
        }
    }
}

/// A file of metadata that stands beside the folder that the user named.
#[test]
fn metadata_files_are_not_read_elsewhere() {
    let folder = tempdir().unwrap();
    let secret = folder.path().join("secret.companion.ome");
    let pixels = r#"DimensionOrder="XYZCT" Type="uint8" SizeX="4" SizeY="3" SizeZ="1" SizeC="1" SizeT="1""#;
    let schema = r#"xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06""#;
    let file = r#"<UUID FileName="a.ome.tif">urn:uuid:1</UUID>"#;
    let text = format!(
        r#"<OME {schema} UUID="urn:uuid:0"><Image ID="Image:0"><Pixels ID="Pixels:0" {pixels} PhysicalSizeX="0.125">
        <Channel ID="Channel:0:0" Name="seen"/><TiffData PlaneCount="1">{file}</TiffData></Pixels></Image></OME>"#
    );
    fs::write(&secret, text).unwrap();
    let absolute = secret.to_str().unwrap().to_owned();
    let names = [
        ("up", "../secret.companion.ome"),
        ("round", "in/../../secret.companion.ome"),
        ("whole", &absolute),
        ("link", "linked.ome"),
        ("through", "in/secret.companion.ome"),
    ];
    for (way, name) in names {
        let here = folder.path().join(way);
        fs::create_dir_all(&here).unwrap();
        let named = format!(r#"<BinaryOnly MetadataFile="{name}" UUID="urn:uuid:0"/>"#);
        let description = Some(format!(r#"<OME {schema} UUID="urn:uuid:1">{named}</OME>"#));
        let layout = Layout { width: 4, height: 3, description, ..Layout::default() };
        fs::write(here.join("a.ome.tif"), layout.write(&[vec![5; 12]])).unwrap();
        match way {
            "round" => fs::create_dir(here.join("in")).unwrap(),
            "link" => symlink(&secret, here.join(name)).unwrap(),
            "through" => symlink("..", here.join("in")).unwrap(),
            _ => {}
        }
        for input in [format!("{way}/a.ome.tif"), way.to_owned()] {
            for command in [&["inspect"][..], &["stitch", "-o", "out.zarr"]] {
                let output = stackctl(folder.path()).args(command).arg(&input).output().unwrap();
                let said = String::from_utf8_lossy(&output.stdout).into_owned() + &message(&output);
                assert!(
                    !output.status.success() && said.contains(&format!("'{name}'")) && said.contains("--follow"),
                    "{way}: {said}"
                );
            }
            assert!(!folder.path().join("out.zarr").exists());
            let output = stackctl(folder.path()).args(["inspect", &input, "--follow"]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && said.contains("seen"), "{way}: {said}{}", message(&output));
        }
        // What is not there is nothing to be refused.
        if way == "up" {
            fs::rename(&secret, folder.path().join("gone")).unwrap();
            assert_eq!(stitched(folder.path(), &["up/a.ome.tif"]), [5; 12]);
            fs::rename(folder.path().join("gone"), &secret).unwrap();
        }
    }
}

#[test]
fn levels_of_a_zarr_are_not_looked_for_elsewhere() {
    let folder = tempdir().unwrap();
    let layout = Layout { width: 4, height: 3, ..Layout::default() };
    fs::write(folder.path().join("a.tif"), layout.write(&[vec![7; 12]])).unwrap();
    for name in ["image.zarr", "secret.zarr"] {
        let output = stackctl(folder.path()).args(["stitch", "a.tif", "-o", name, "-q"]).output().unwrap();
        assert!(output.status.success(), "{}", message(&output));
    }
    let document = folder.path().join("image.zarr/zarr.json");
    let text = fs::read_to_string(&document).unwrap();
    let whole = folder.path().join("secret.zarr/0").to_str().unwrap().to_owned();
    symlink("../secret.zarr/0", folder.path().join("image.zarr/linked")).unwrap();
    for level in ["../secret.zarr/0", "0/../../secret.zarr/0", &whole, "linked"] {
        fs::write(&document, text.replace("\"path\": \"0\"", &format!("\"path\": \"{level}\""))).unwrap();
        let (code, said) = failure(folder.path(), &["stitch", "image.zarr", "-o", "out.zarr"]);
        assert!(code == 2 && said.contains(&format!("'{level}'")) && said.contains("--follow"), "{level}: {said}");
        assert_eq!(stitched(folder.path(), &["image.zarr", "--follow"]), [7; 12], "{level}");
    }
}
