//! The store as whoever can write to it sees it: names and bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lifeboat_tests::s3::S3Server;

/// All that is stored, by key.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Where a store is.
#[derive(Debug)]
pub(crate) enum Place {
    /// A folder.
    Directory(PathBuf),
    /// A bucket, under the prefix `tests`.
    S3(S3Server),
}

impl Place {
    /// Everything that is stored.
    pub(crate) async fn files(&self) -> Files {
        match self {
            Self::Directory(root) => in_folder(root),
            Self::S3(server) => in_bucket(server).await,
        }
    }

    /// Writes over what is there, as Lifeboat itself never does.
    pub(crate) async fn overwrite(&self, key: &str, bytes: Vec<u8>) {
        match self {
            Self::Directory(root) => write_file(root, key, &bytes),
            Self::S3(server) => {
                let request = server.client().put_object().bucket(&server.bucket).key(format!("tests/{key}"));
                request.body(bytes.into()).send().await.unwrap();
            }
        }
    }

    /// Replaces all that is in a folder.
    pub(crate) fn replace(&self, files: &Files) {
        let Self::Directory(root) = self else { panic!("only a folder is replaced as a whole") };
        if root.exists() {
            std::fs::remove_dir_all(root).unwrap();
        }
        for (key, bytes) in files {
            write_file(root, key, bytes);
        }
    }
}

fn write_file(root: &Path, key: &str, bytes: &[u8]) {
    let path = root.join(key);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Every file below a folder, by its path from there.
pub(crate) fn in_folder(root: &Path) -> Files {
    names_in_folder(root).into_iter().map(|name| (name.clone(), std::fs::read(root.join(&name)).unwrap())).collect()
}

/// The paths of the files below a folder, from there; others may come and go meanwhile.
pub(crate) fn names_in_folder(root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                names.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    names
}

async fn in_bucket(server: &S3Server) -> Files {
    let client = server.client();
    let listed = client.list_objects_v2().bucket(&server.bucket).send().await.unwrap();
    assert_ne!(listed.is_truncated(), Some(true), "more objects than these tests have");
    let mut files = Files::new();
    for object in listed.contents() {
        let key = object.key().unwrap();
        let object = client.get_object().bucket(&server.bucket).key(key).send().await.unwrap();
        let bytes = object.body.collect().await.unwrap().to_vec();
        files.insert(key.strip_prefix("tests/").unwrap().to_owned(), bytes);
    }
    files
}
