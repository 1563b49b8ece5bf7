//! The commands, one file each.

mod backup;
mod completion;
mod daemon;
mod doctor;
mod drill;
mod event;
mod finding;
mod init;
mod key;
pub(crate) mod playbook;
mod responder;
mod restore;
mod run;
pub(crate) mod version;

pub(crate) use drill::programs::folders as drill_programs;

use crate::app::App;
use crate::args::{
    BackupCommand, Command, DrillCommand, EventCommand, FindingCommand, KeyCommand, PlaybookCommand, RestoreCommand,
    RunCommand,
};
use crate::error::Result;
use crate::exit::ExitCode;

/// Runs a command.
pub(crate) fn run(app: &App, command: Command) -> Result<ExitCode> {
    match command {
        Command::Init(arguments) => init::run(app, &arguments),
        Command::Doctor(arguments) => doctor::run(app, &arguments),
        Command::Backup(command) => run_backup(app, &command),
        Command::Restore(RestoreCommand::Objects(arguments)) => restore::objects::run(app, &arguments),
        Command::Restore(RestoreCommand::Etcd(arguments)) => restore::etcd::run(app, &arguments),
        Command::Drill(DrillCommand::Run(arguments)) => drill::run::run(app, &arguments),
        Command::Drill(DrillCommand::List(arguments)) => drill::list::run(app, &arguments),
        Command::Drill(DrillCommand::Show(arguments)) => drill::show::run(app, &arguments),
        Command::Playbook(PlaybookCommand::List(arguments)) => playbook::list::run(app, &arguments),
        Command::Playbook(PlaybookCommand::Show(arguments)) => playbook::show::run(app, &arguments),
        Command::Playbook(PlaybookCommand::Lint(arguments)) => playbook::lint::run(app, &arguments),
        Command::Playbook(PlaybookCommand::Actions(arguments)) => playbook::actions::run(app, &arguments),
        Command::Playbook(PlaybookCommand::Plan(arguments)) => playbook::plan::run(app, &arguments),
        Command::Playbook(PlaybookCommand::Run(arguments)) => playbook::perform::run(app, &arguments),
        Command::Playbook(PlaybookCommand::Rbac(arguments)) => playbook::rbac::run(app, &arguments),
        Command::Run(RunCommand::Approve(arguments)) => run::approve::run(app, &arguments),
        Command::Run(RunCommand::Resume(arguments)) => run::resume::run(app, &arguments),
        Command::Run(RunCommand::Rollback(arguments)) => run::rollback::run(app, &arguments),
        Command::Run(RunCommand::List(arguments)) => run::list::run(app, &arguments),
        Command::Run(RunCommand::Show(arguments)) => run::show::run(app, &arguments),
        Command::Run(RunCommand::Verify(arguments)) => run::verify::run(app, &arguments),
        Command::Run(RunCommand::Report(arguments)) => run::report::run(app, &arguments),
        Command::Event(EventCommand::Test(arguments)) => event::test::run(app, &arguments),
        Command::Event(EventCommand::Receive(arguments)) => event::receive::run(app, &arguments),
        Command::Finding(FindingCommand::Import(arguments)) => finding::import::run(app, &arguments),
        Command::Finding(FindingCommand::List(arguments)) => finding::list::run(app, &arguments),
        Command::Finding(FindingCommand::Diff(arguments)) => finding::diff::run(app, &arguments),
        Command::Daemon(arguments) => daemon::run(app, &arguments),
        Command::Responder(arguments) => responder::run(app, &arguments),
        Command::Key(KeyCommand::Generate(arguments)) => key::generate::run(app, &arguments),
        Command::Key(KeyCommand::Show(arguments)) => key::show::run(app, &arguments),
        Command::Key(KeyCommand::Check(arguments)) => key::check::run(app, &arguments),
        Command::Completion(arguments) => completion::run(app, &arguments),
        Command::Version => version::run(app),
    }
}

fn run_backup(app: &App, command: &BackupCommand) -> Result<ExitCode> {
    match command {
        BackupCommand::Create(arguments) => backup::create::run(app, arguments),
        BackupCommand::List(arguments) => backup::list::run(app, arguments),
        BackupCommand::Show(arguments) => backup::show::run(app, arguments),
        BackupCommand::Verify(arguments) => backup::verify::run(app, arguments),
        BackupCommand::Objects(arguments) => backup::objects::run(app, arguments),
        BackupCommand::Get(arguments) => backup::get::run(app, arguments),
        BackupCommand::Search(arguments) => backup::search::run(app, arguments),
        BackupCommand::Diff(arguments) => backup::diff::run(app, arguments),
        BackupCommand::Download(arguments) => backup::download::run(app, arguments),
        BackupCommand::Prune(arguments) => backup::prune::run(app, arguments),
        BackupCommand::Hold(arguments) => backup::hold::hold(app, arguments),
        BackupCommand::Release(arguments) => backup::hold::release(app, arguments),
    }
}
