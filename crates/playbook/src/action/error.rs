//! Why an action could not be done.

use std::error::Error as StdError;

type Source = Box<dyn StdError + Send + Sync>;

/// Why an action could not be done, by what follows from it. What each constructor is given is a lower-case fragment
/// with the wrong value or the object in it, and never a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActionError {
    /// Refused by a precondition, a permission or a rule; nothing was written. Outcome `denied`.
    #[error("{message}")]
    Denied {
        /// What was refused, and by whom.
        message: String,
        /// The cause.
        #[source]
        source: Option<Source>,
    },
    /// Might work when tried again: a server that is away, a time-out of a read. Outcome `failed` after the last try.
    #[error("{message}")]
    Transient {
        /// What went wrong.
        message: String,
        /// The cause.
        #[source]
        source: Option<Source>,
    },
    /// Will not work by trying again. Outcome `failed`.
    #[error("{message}")]
    Failed {
        /// What went wrong.
        message: String,
        /// The cause.
        #[source]
        source: Option<Source>,
    },
    /// Of a write only: nobody knows whether it was done. It is undone with the others, and never repeated blindly.
    #[error("{message}")]
    Uncertain {
        /// What was asked of whom.
        message: String,
        /// The cause.
        #[source]
        source: Option<Source>,
    },
    /// The run was cancelled, or the step's time was over, before the next write.
    #[error("cancelled")]
    Cancelled,
}

impl ActionError {
    /// Refused; nothing was written.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::Denied { message: message.into(), source: None }
    }

    /// Might work when tried again.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::Transient { message: message.into(), source: None }
    }

    /// Will not work by trying again.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), source: None }
    }

    /// Nobody knows whether the write was done.
    pub fn uncertain(message: impl Into<String>) -> Self {
        Self::Uncertain { message: message.into(), source: None }
    }

    /// With its cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Source>) -> Self {
        match &mut self {
            Self::Denied { source, .. }
            | Self::Transient { source, .. }
            | Self::Failed { source, .. }
            | Self::Uncertain { source, .. } => *source = Some(cause.into()),
            Self::Cancelled => {}
        }
        self
    }

    /// The message and those of its causes.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = StdError::source(self);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }
}
