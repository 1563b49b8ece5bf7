//! New values.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lifeboat_playbook::ActionError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Fills bytes with what nobody can guess.
pub type Random = fn(&mut [u8]) -> io::Result<()>;

/// The most that a Secret holds.
/// Source: `MaxSecretSize` of `k8s.io/kubernetes/pkg/apis/core`.
const MAX_VALUE: u64 = 1024 * 1024;
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

fn thirty_two() -> u32 {
    32
}

/// A key of the Secret, and where its new value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewValue {
    /// The key.
    pub(super) key: String,
    /// How many random letters and digits are made.
    #[serde(default = "thirty_two")]
    #[schemars(range(min = 16, max = 4096))]
    length: u32,
    /// A file with the value, on the machine that runs the playbook, instead. It is taken as it is, a last newline
    /// included.
    #[serde(default)]
    file: Option<PathBuf>,
}

impl NewValue {
    /// Where it comes from, in words.
    pub(super) fn words(&self) -> String {
        match &self.file {
            Some(file) => format!("(from the file {})", file.display()),
            None => format!("({} random letters and digits)", self.length),
        }
    }

    /// Whether it can be had, and may come from where it says.
    pub(super) fn check(&self, local_files: bool) -> Result<(), ActionError> {
        match &self.file {
            Some(file) if !local_files => Err(ActionError::denied(format!(
                "a value for '{}' is to come from the file {}, and no file is read here",
                self.key,
                file.display()
            ))),
            Some(_) => self.make(|_| Ok(())).map(drop),
            None => Ok(()),
        }
    }

    /// The value, as the API has it. It goes nowhere but into the Secret.
    pub(super) fn make(&self, random: Random) -> Result<String, ActionError> {
        let failed = |error: io::Error| {
            ActionError::failed(format!("a value for '{}' cannot be had {}", self.key, self.words())).because(error)
        };
        let Some(file) = &self.file else {
            return Ok(STANDARD.encode(letters(self.length as usize, random).map_err(failed)?));
        };
        let mut bytes = Vec::new();
        let read = File::open(file).and_then(|file| file.take(MAX_VALUE + 1).read_to_end(&mut bytes));
        read.map_err(failed)?;
        if bytes.is_empty() || bytes.len() as u64 > MAX_VALUE {
            let words = format!("the file {} is empty, or longer than {MAX_VALUE} bytes", file.display());
            return Err(ActionError::failed(words));
        }
        Ok(STANDARD.encode(bytes))
    }
}

/// Each letter as likely as the others: bytes that would favour some are thrown away.
fn letters(count: usize, random: Random) -> io::Result<Vec<u8>> {
    let mut made = Vec::with_capacity(count);
    // Eight of 256 bytes are thrown away: a source that goes on giving those is broken.
    for _ in 0..64 {
        let mut bytes = vec![0; count.saturating_mul(2)];
        random(&mut bytes)?;
        let fair = bytes.iter().filter(|byte| usize::from(**byte) < 256 / LETTERS.len() * LETTERS.len());
        let picked = fair.filter_map(|byte| LETTERS.get(usize::from(*byte) % LETTERS.len()));
        made.extend(picked.take(count.saturating_sub(made.len())));
        if made.len() == count {
            return Ok(made);
        }
    }
    Err(io::Error::other("the random source is none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_as_long_as_asked_for_and_of_the_source() {
        let counting: Random = |bytes| {
            for (byte, value) in bytes.iter_mut().zip((0..=255).cycle()) {
                *byte = value;
            }
            Ok(())
        };
        let broken: Random = |bytes| {
            bytes.fill(255);
            Ok(())
        };
        let made = letters(300, counting).unwrap();
        assert_eq!(made.len(), 300);
        assert_eq!(&made[..3], b"ABC");
        // 248 to 255 would favour the first eight letters.
        assert_eq!(&made[246..250], b"89AB");
        assert!(letters(1, broken).is_err());

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        let new = NewValue { key: "a".to_owned(), length: 32, file: Some(path.clone()) };
        assert!(new.check(true).is_err());
        std::fs::write(&path, "hunter2").unwrap();
        assert_eq!(new.make(broken).unwrap(), STANDARD.encode("hunter2"));
        new.check(true).unwrap();
        assert!(matches!(new.check(false), Err(ActionError::Denied { .. })));
    }
}
