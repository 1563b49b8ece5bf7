//! Exit codes.

/// How the program ends. The numbers are part of the interface and never change their meaning.
///
/// Besides these, 130 says that a second interrupt ended the program at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything that was asked for was done.
    Done = 0,
    /// Something could not be done.
    Failed = 1,
    /// Wrong arguments, or a document that is not valid.
    Usage = 2,
    /// Done, but a part is missing or could not be proved.
    Partial = 3,
    /// A signature, a digest or a structure is wrong.
    Integrity = 4,
    /// Refused by a guard, an approval or a permission.
    Refused = 5,
    /// What was asked for is not there.
    NotFound = 6,
}

/// The code of a process that a second interrupt ended: 128 + SIGINT, as shells have it.
pub(crate) const KILLED: i32 = 130;

impl ExitCode {
    /// Every code.
    pub(crate) const ALL: [Self; 7] =
        [Self::Done, Self::Failed, Self::Usage, Self::Partial, Self::Integrity, Self::Refused, Self::NotFound];

    /// The name by which machine-readable errors call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Partial => "partial",
            Self::Integrity => "integrity",
            Self::Refused => "refused",
            Self::NotFound => "notFound",
        }
    }

    /// What it means, for the help text.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "wrong usage, or an invalid document",
            Self::Partial => "partial, or unverified",
            Self::Integrity => "integrity or signature failure",
            Self::Refused => "refused by a guard, an approval or a permission",
            Self::NotFound => "not found",
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

impl From<lifeboat_recovery::Class> for ExitCode {
    fn from(class: lifeboat_recovery::Class) -> Self {
        use lifeboat_recovery::Class;
        match class {
            Class::Failed => Self::Failed,
            Class::Usage => Self::Usage,
            Class::Integrity => Self::Integrity,
            Class::Refused => Self::Refused,
            Class::NotFound => Self::NotFound,
        }
    }
}
