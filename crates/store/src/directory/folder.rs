//! Folders as file descriptors, walked one name at a time without following symbolic links.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fsync, linkat, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use crate::{Prefix, StoreError};

/// An open folder and those above it, up to the root of the store.
#[derive(Debug, Clone)]
pub(super) struct Folder(Arc<Open>);

#[derive(Debug)]
struct Open {
    fd: File,
    path: PathBuf,
    parent: Option<(Folder, String)>,
}

/// An entry that is a file or a folder of the store.
pub(super) enum Entry {
    File(File, std::fs::Metadata),
    Folder(Folder),
}

impl Folder {
    /// Opens the root of a store, and makes it, private to this user, where it is not there.
    pub(super) fn root(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at("make", path))?;
            // Those above it may belong to others, so that it cannot be said of all that their names are durable.
            let here = |above: &Path| if above.as_os_str().is_empty() { File::open(".") } else { File::open(above) };
            for above in path.ancestors().skip(1).filter_map(|above| here(above).ok()) {
                above.sync_all().map_err(at("make durable", path))?;
            }
        }
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(at("open", path))?;
        Ok(Self(Arc::new(Open { fd: fd.into(), path: path.to_owned(), parent: None })))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0.path
    }

    /// The folder of that prefix below this one; `None` where it is not there.
    pub(super) fn open(&self, prefix: &Prefix) -> Result<Option<Self>, StoreError> {
        let mut folder = self.clone();
        for name in prefix.segments() {
            match folder.child(name) {
                Ok(child) => folder = child,
                Err(e) if is_absent(&e) => return Ok(None),
                Err(e) => return Err(at("open", &folder.path().join(name))(e)),
            }
        }
        Ok(Some(folder))
    }

    /// The folder of that prefix below this one, made where it is not there.
    pub(super) fn make(&self, prefix: &Prefix) -> io::Result<Self> {
        let mut folder = self.clone();
        for name in prefix.segments() {
            match mkdirat(&folder.0.fd, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => folder = folder.child(name)?,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(folder)
    }

    fn child(&self, name: &str) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&self.0.fd, name, flags, Mode::empty())?;
        Ok(self.adopt(fd.into(), name))
    }

    fn adopt(&self, fd: File, name: &str) -> Self {
        Self(Arc::new(Open { fd, path: self.path().join(name), parent: Some((self.clone(), name.to_owned())) }))
    }

    /// Opens what has that name; `None` where there is nothing, or neither a file nor a folder.
    pub(super) fn entry(&self, name: &str) -> Result<Option<Entry>, StoreError> {
        // NONBLOCK, since opening a FIFO for reading would wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let path = || self.path().join(name);
        let file: File = match openat(&self.0.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd.into(),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(e) => return Err(at("open", &path())(e)),
        };
        let meta = file.metadata().map_err(at("read", &path()))?;
        Ok(if meta.is_file() {
            Some(Entry::File(file, meta))
        } else if meta.is_dir() {
            Some(Entry::Folder(self.adopt(file, name)))
        } else {
            None
        })
    }

    /// Makes a file that is not there yet, private to this user.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.0.fd, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Gives a file a second name, if that is free.
    pub(super) fn link(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(linkat(&self.0.fd, from, &self.0.fd, to, AtFlags::empty())?)
    }

    /// Gives a file another name, if that is free.
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    pub(super) fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        use rustix::fs::{RenameFlags, renameat_with};
        Ok(renameat_with(&self.0.fd, from, &self.0.fd, to, RenameFlags::NOREPLACE)?)
    }

    /// Gives a file another name, if that is free: this system has no such call.
    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    pub(super) fn rename_new(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes a file; succeeds where there is none.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.0.fd, name, AtFlags::empty()) {
            // Linux says EISDIR of a folder, POSIX and macOS EPERM; neither is an object.
            Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes the names in this folder, and in those above it up to the root, durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        let mut folder = Some(self);
        while let Some(Self(open)) = folder {
            fsync(&open.fd)?;
            folder = open.parent.as_ref().map(|(parent, _)| parent);
        }
        Ok(())
    }

    /// Removes this folder and those above it as long as they are empty; the root stays.
    pub(super) fn prune(&self) {
        let mut folder = self;
        while let Some((parent, name)) = &folder.0.parent {
            if unlinkat(&parent.0.fd, name.as_str(), AtFlags::REMOVEDIR).is_err() {
                return;
            }
            folder = parent;
        }
    }

    /// The names in this folder that `wanted` takes, sorted as keys sort: a folder's name ends with its slash.
    pub(super) fn names(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, StoreError> {
        let failed = at("list", self.path());
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0.fd).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            // Other programs' names that are no UTF-8 cannot be objects of the store.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if !wanted(name) {
                continue;
            }
            let folder = match entry.file_type() {
                FileType::Unknown => matches!(self.entry(name)?, Some(Entry::Folder(_))),
                known => known == FileType::Directory,
            };
            names.push(if folder { format!("{name}/") } else { name.to_owned() });
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// Whether an error says that there is no such folder, or a file in its place.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Turns an error of the file system into the store's.
pub(super) fn at<E: Into<io::Error>>(operation: &'static str, path: &Path) -> impl Fn(E) -> StoreError {
    move |error| {
        let source: io::Error = error.into();
        let resource = || path.display().to_string();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StoreError::NoSpace { resource: resource(), source: Some(source.into()) }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreError::AccessDenied {
                operation,
                resource: resource(),
                permission: "access to the file and write access to its folder",
                source: Some(source.into()),
            },
            _ => StoreError::File { operation, path: path.to_owned(), source },
        }
    }
}
