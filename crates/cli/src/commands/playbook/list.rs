//! `playbook list`.

use std::fmt::Write as _;

use lifeboat_playbook::Library as _;
use serde::Serialize;

use crate::app::App;
use crate::args::PlaybookListArgs;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::output::{Report, Table, View, printable};
use crate::playbooks::{self, Folder};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    schema: &'static str,
    library: String,
    playbooks: Vec<PlaybookLine>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlaybookLine {
    name: String,
    description: Option<String>,
    attack: Vec<String>,
    triggers: Vec<String>,
    /// How many faults it has; `playbook lint` tells them.
    faults: usize,
}

impl Report for Listed {
    fn text(&self, _: &View) -> String {
        if self.playbooks.is_empty() {
            return format!("no playbooks in '{}'\n", printable(&self.library));
        }
        let mut table = Table::new(["PLAYBOOK", "ATT&CK", "TRIGGERS", "DESCRIPTION"]);
        for line in &self.playbooks {
            let description = line.description.as_deref().unwrap_or("(has faults)");
            table.row([&line.name, &line.attack.join(", "), &line.triggers.join(", "), description]);
        }
        let mut text = table.to_string();
        for line in self.playbooks.iter().filter(|line| line.faults > 0) {
            let _ =
                writeln!(text, "{}: {} faults, told by 'lifeboat playbook lint'", printable(&line.name), line.faults);
        }
        text
    }
}

pub(crate) fn run(app: &App, arguments: &PlaybookListArgs) -> Result<ExitCode> {
    let registry = playbooks::registry()?;
    let folder = &arguments.library.library;
    let mut lines = Vec::new();
    for name in Folder(folder).names() {
        let path = folder.join(format!("{name}.yaml"));
        lines.push(match playbooks::check(&path, &registry, &arguments.library)? {
            Ok(playbook) => {
                let spec = &playbook.document().spec;
                PlaybookLine {
                    name,
                    description: Some(spec.description.clone()),
                    attack: spec.attack.clone(),
                    triggers: spec.triggers.iter().map(|trigger| trigger.name.clone()).collect(),
                    faults: 0,
                }
            }
            Err(errors) => {
                let (attack, triggers) = (Vec::new(), Vec::new());
                PlaybookLine { name, description: None, attack, triggers, faults: errors.0.len() }
            }
        });
    }
    let library = folder.display().to_string();
    let listed = Listed { schema: "lifeboat.dev/playbook-list/v1", library, playbooks: lines };
    app.output.print(&listed)?;
    Ok(if listed.playbooks.iter().all(|line| line.faults == 0) { ExitCode::Done } else { ExitCode::Usage })
}
