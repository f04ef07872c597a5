//! What every implementation of a trait must do, whatever it is.

use std::sync::Arc;

/// A disk, which is what a store is built on.
mod disk {
    use super::*;
    use stackctl::store::disk::{Disk, Entry, read};
    use std::io::{self, ErrorKind};

    fn put(disk: &dyn Disk, key: &str, bytes: &[u8]) -> io::Result<()> {
        let object = disk.create(key)?;
        object.write_at(0, bytes)?;
        object.sync()?;
        object.close()
    }

    fn names(disk: &dyn Disk, folder: &str) -> Vec<(String, bool)> {
        let mut entries = disk.list(folder).unwrap();
        entries.sort();
        entries.into_iter().map(|Entry { name, is_folder }| (name, is_folder)).collect()
    }

    /// The whole suite; the disk is empty, and so is the name that it publishes to.
    fn conforms(disk: Arc<dyn Disk>) {
        objects(&*disk);
        positions(disk.clone());
        folders(&*disk);
        renames(&*disk);
        publication(&*disk);
    }

    fn objects(disk: &dyn Disk) {
        assert_eq!(read(disk, "a").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(disk.open("b/c").err().unwrap().kind(), ErrorKind::NotFound);
        assert_eq!(disk.length("a").unwrap(), None);
        assert_eq!(disk.length("a/b/c").unwrap(), None);
        let large: Vec<u8> = (0..200_001u32).map(|i| i as u8).collect();
        for bytes in [&b"one"[..], b"", &large] {
            put(disk, "a", bytes).unwrap();
            assert_eq!(read(disk, "a").unwrap(), bytes);
            assert_eq!(disk.length("a").unwrap(), Some(bytes.len() as u64));
        }
        put(disk, "b/c/d", b"deep").unwrap();
        assert_eq!(read(disk, "b/c/d").unwrap(), b"deep");
        assert_eq!(disk.length("b/c").unwrap(), None, "a folder has no length");
        disk.remove("a").unwrap();
        disk.remove("a").unwrap();
        disk.remove("no/such").unwrap();
        disk.remove("b").unwrap();
        assert!(names(disk, "").is_empty());
    }

    fn positions(disk: Arc<dyn Disk>) {
        let object = disk.create("p/grown").unwrap();
        std::thread::scope(|scope| {
            for i in (0..8u8).rev() {
                let object = &object;
                scope.spawn(move || object.write_at(u64::from(i) * 1000, &[i; 1000]).unwrap());
            }
        });
        object.hurry(0, 8000);
        object.sync().unwrap();
        object.close().unwrap();
        let bytes = read(&*disk, "p/grown").unwrap();
        assert!(bytes.len() == 8000 && bytes.iter().enumerate().all(|(i, b)| usize::from(*b) == i / 1000));
        // It is gone on with, cut, and filled up.
        let object = disk.open("p/grown").unwrap();
        object.set_length(10).unwrap();
        object.write_at(12, b"x").unwrap();
        let mut three = [9; 3];
        assert_eq!(object.read_at(11, &mut three).unwrap(), 2);
        assert_eq!(three, [0, b'x', 9]);
        assert_eq!(object.read_at(13, &mut three).unwrap(), 0);
        assert_eq!(object.read_at(99, &mut three).unwrap(), 0);
        object.close().unwrap();
        assert_eq!(disk.length("p/grown").unwrap(), Some(13));
        disk.remove("p").unwrap();
    }

    fn folders(disk: &dyn Disk) {
        assert!(names(disk, "none").is_empty());
        for key in ["f/a", "f/b/c", "f/b/d", "g", ".h"] {
            put(disk, key, b"").unwrap();
        }
        assert_eq!(names(disk, ""), [(".h".into(), false), ("f".into(), true), ("g".into(), false)]);
        assert_eq!(names(disk, "f"), [("a".into(), false), ("b".into(), true)]);
        for folder in ["", "f", "f/b"] {
            disk.sync_folder(folder).unwrap();
        }
        disk.remove("f/b").unwrap();
        assert_eq!(names(disk, "f"), [("a".into(), false)]);
        for name in ["f", "g", ".h"] {
            disk.remove(name).unwrap();
        }
    }

    fn renames(disk: &dyn Disk) {
        put(disk, "r/new", b"new").unwrap();
        put(disk, "r/old", b"old").unwrap();
        disk.rename("r/new", "r/old").unwrap();
        assert_eq!(names(disk, "r"), [("old".into(), false)]);
        assert_eq!(read(disk, "r/old").unwrap(), b"new");
        assert_eq!(disk.rename("r/new", "r/old").unwrap_err().kind(), ErrorKind::NotFound);
        disk.remove("r").unwrap();
    }

    fn publication(disk: &dyn Disk) {
        put(disk, "output/a/b", b"first").unwrap();
        disk.publish("output", false).unwrap();
        disk.settle().unwrap();
        assert!(names(disk, "").is_empty());
        put(disk, "output/a/b", b"second").unwrap();
        assert_eq!(disk.publish("output", false).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(read(disk, "output/a/b").unwrap(), b"second");
        disk.publish("output", true).unwrap();
        disk.settle().unwrap();
        assert_eq!(disk.publish("nothing", true).unwrap_err().kind(), ErrorKind::NotFound);
    }

    mod implementations {
        use super::*;
        use stackctl::store::disk::Local;
        use stackctl::store::testing::{Fault, Faulty, Memory};

        #[test]
        fn local() {
            let folder = tempfile::tempdir().unwrap();
            let partial = folder.path().join(".o.partial");
            std::fs::create_dir(&partial).unwrap();
            conforms(Arc::new(Local::open(&partial, &folder.path().join("o")).unwrap()));
            std::fs::remove_dir_all(partial).unwrap();
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
            assert_eq!(std::fs::read(folder.path().join("o/a/b")).unwrap(), b"second");
        }

        #[test]
        fn memory() {
            let memory = Memory::default();
            conforms(Arc::new(memory.clone()));
            assert_eq!(memory.published()["a/b"], b"second");
        }

        #[test]
        fn faulty_without_a_fault() {
            let faulty = Faulty::new(Arc::new(Memory::default()), u64::MAX, false, &[], Fault::Short);
            conforms(Arc::new(faulty));
        }
    }
}
