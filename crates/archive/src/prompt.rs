//! How an age plugin talks to the person in front of it.

use std::sync::Arc;

use age::secrecy::SecretString;

/// Answers what an age plugin asks while it unwraps a key: a PIN, a touch, a choice.
///
/// `None` from any of them tells the plugin that nobody is there to answer.
pub trait PluginPrompt: Send + Sync + 'static {
    /// Shows a message, such as "touch your key".
    fn message(&self, message: &str);
    /// Asks to choose between `yes` and `no`; `no` has a default label when it is `None`.
    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool>;
    /// Asks for a text that may be seen while it is typed.
    fn ask(&self, description: &str) -> Option<String>;
    /// Asks for a text that must not be seen, such as a PIN.
    fn ask_secret(&self, description: &str) -> Option<String>;
}

/// Nobody is there: every question of a plugin stays unanswered.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPrompt;

impl PluginPrompt for NoPrompt {
    fn message(&self, _: &str) {}

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }

    fn ask(&self, _: &str) -> Option<String> {
        None
    }

    fn ask_secret(&self, _: &str) -> Option<String> {
        None
    }
}

/// Gives age a prompt of ours.
#[derive(Clone)]
pub(crate) struct Callbacks(pub(crate) Arc<dyn PluginPrompt>);

impl age::Callbacks for Callbacks {
    fn display_message(&self, message: &str) {
        self.0.message(message);
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        self.0.confirm(message, yes, no)
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        self.0.ask(description)
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        self.0.ask_secret(description).map(SecretString::from)
    }
}
