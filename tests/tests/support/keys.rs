//! The keys of a site, for what the program itself never does: forging.

use std::io::Write as _;
use std::sync::Arc;

use lifeboat_archive::{
    Finished, FrameSize, Identities, PublicKey, Recipients, RecoveryKey, SealOptions, Sealed, SealedReader,
    SealedWriter, SigningKey, TrustedKeys,
};
use lifeboat_model::{Manifest, PartName, SignedDocument};

use super::{Files, Site};

/// All keys of a site, or new ones.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) recipients: Arc<Recipients>,
    pub(crate) identities: Arc<Identities>,
    pub(crate) signer: Arc<SigningKey>,
    pub(crate) trusted: Arc<TrustedKeys>,
}

/// The folder of a backup of the cluster `prod`, and the key of a file in it.
pub(crate) fn backup_key(id: &str, file: &str) -> String {
    format!("prod/backups/{id}/{file}")
}

/// The key of a sealed part.
pub(crate) fn part_key(id: &str, part: &str) -> String {
    backup_key(id, &format!("{part}.zst.age"))
}

impl Keys {
    /// New keys.
    pub(crate) fn generate() -> Self {
        let recovery = RecoveryKey::generate("in a test");
        Self::new(recovery.identity_file(), SigningKey::generate().unwrap())
    }

    /// The keys in a site's folder.
    pub(crate) fn of(site: &Site) -> Self {
        let read = |name| std::fs::read_to_string(site.path(name)).unwrap();
        Self::new(&read("recovery.key"), SigningKey::from_text(&read("signing.key"), None).unwrap())
    }

    fn new(identity: &str, signer: SigningKey) -> Self {
        let identities = Identities::parse(identity).unwrap();
        let public: PublicKey = signer.public_key().unwrap();
        Self {
            recipients: Arc::new(Recipients::parse(identities.recipients()).unwrap()),
            identities: Arc::new(identities),
            signer: Arc::new(signer),
            trusted: Arc::new(TrustedKeys::new(vec![public])),
        }
    }

    /// The manifest of a backup, believed as it is.
    pub(crate) fn manifest(files: &Files, id: &str) -> Manifest {
        Manifest::parse(&files[&backup_key(id, "manifest.json")]).unwrap()
    }

    /// The plain bytes of a part, as the owner of the recovery key sees them.
    pub(crate) fn open(&self, files: &Files, id: &str, part: &PartName) -> Vec<u8> {
        let part = Self::manifest(files, id).part(part).unwrap().clone();
        let expected = Sealed::from(&part);
        let stored = files[&part_key(id, part.name.as_str())].as_slice();
        let mut reader = SealedReader::new(stored, &self.identities, &expected).unwrap();
        let mut plain = Vec::new();
        std::io::copy(&mut reader, &mut plain).unwrap();
        reader.finish().unwrap();
        plain
    }

    /// Seals as anybody can who knows the public recipient, cut into frames of these lengths.
    pub(crate) fn seal(&self, plain: &[u8], frames: &[u64]) -> Finished<Vec<u8>> {
        let options = SealOptions { frame_size: FrameSize::MAX, record_frames: true, ..SealOptions::default() };
        let mut writer = SealedWriter::new(Vec::new(), &self.recipients, options).unwrap();
        let mut rest = plain;
        for length in frames {
            let (frame, behind) = rest.split_at(usize::try_from(*length).unwrap());
            writer.write_all(frame).unwrap();
            writer.cut_frame().unwrap();
            rest = behind;
        }
        writer.write_all(rest).unwrap();
        writer.finish().unwrap()
    }

    /// Puts another content in the place of a part, and nothing else.
    pub(crate) fn replace_part(&self, files: &mut Files, id: &str, part: &str, plain: &[u8]) -> Sealed {
        let finished = self.seal(plain, &[]);
        files.insert(part_key(id, part), finished.sink);
        finished.sealed
    }

    /// Signs a manifest and puts it with its signature where `id` has its own.
    pub(crate) fn put_manifest(signer: &SigningKey, files: &mut Files, id: &str, manifest: &Manifest) {
        let bytes = manifest.to_bytes().unwrap();
        let signature = signer.sign(&bytes, &manifest.trusted_comment()).unwrap();
        files.insert(backup_key(id, "manifest.json"), bytes);
        files.insert(backup_key(id, "manifest.json.minisig"), signature.into_bytes());
    }
}
