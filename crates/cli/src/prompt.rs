//! Asking the person at the terminal.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _};

use lifeboat_archive::PluginPrompt;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::error::{Error, Result};
use crate::output::printable;

/// The longest answer that is read.
const MAX_ANSWER: usize = 4096;

/// Asks to go ahead with what was shown; only the word `yes` does.
pub(crate) fn confirm(question: &str) -> Result<()> {
    confirm_by(question, "yes")
}

/// Asks to go ahead with what was shown; only that answer does.
pub(crate) fn confirm_by(question: &str, wanted: &str) -> Result<()> {
    if !io::stdin().is_terminal() {
        return Err(Error::NobodyToAsk);
    }
    let answer = ask(question, Echo::On).unwrap_or_default();
    if answer.trim() == wanted { Ok(()) } else { Err(Error::NotConfirmed) }
}

/// Whether what is typed is shown.
#[derive(Clone, Copy)]
enum Echo {
    On,
    Off,
}

/// Asks on the controlling terminal, whatever stdin and stderr are. `None` where there is none.
fn ask(question: &str, echo: Echo) -> Option<String> {
    let terminal = File::options().read(true).write(true).open("/dev/tty").ok()?;
    let _silence = match echo {
        Echo::On => None,
        Echo::Off => Some(Silence::of(&terminal)?),
    };
    let mut writer = &terminal;
    write!(writer, "{question} ").and_then(|()| writer.flush()).ok()?;
    let mut answer = String::new();
    BufReader::new(io::Read::take(&terminal, MAX_ANSWER as u64)).read_line(&mut answer).ok()?;
    if matches!(echo, Echo::Off) {
        // The line break that was typed was not shown either.
        let _ = writeln!(writer);
    }
    answer.ends_with('\n').then(|| answer.trim_end_matches(['\r', '\n']).to_owned())
}

/// Keeps a terminal from showing what is typed, until dropped.
struct Silence<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silence<'a> {
    fn of(terminal: &'a File) -> Option<Self> {
        let before = tcgetattr(terminal).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &silent).ok()?;
        Some(Self { terminal, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// Lets age plugins talk to the person at the terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TerminalPrompt;

impl PluginPrompt for TerminalPrompt {
    fn message(&self, message: &str) {
        let _ = writeln!(io::stderr(), "{}", printable(message));
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        let (message, yes, no) = (printable(message), printable(yes), printable(no.unwrap_or("cancel")));
        let answer = ask(&format!("{message} (1: {yes}, 2: {no})"), Echo::On)?;
        match answer.trim() {
            "1" => Some(true),
            "2" => Some(false),
            _ => None,
        }
    }

    fn ask(&self, description: &str) -> Option<String> {
        ask(&format!("{}:", printable(description)), Echo::On)
    }

    fn ask_secret(&self, description: &str) -> Option<String> {
        ask(&format!("{}:", printable(description)), Echo::Off)
    }
}
