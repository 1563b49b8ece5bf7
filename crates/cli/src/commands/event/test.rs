//! `event test`.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use lifeboat_playbook::{
    Event, EventSource, Fit, Library as _, MAX_ALERT_BYTES, Mapping, MappingSpec, Plan, Playbook, Received, Request,
    Tried, normalise, recognise,
};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::app::{App, block_on, unless_cancelled};
use crate::args::EventTestArgs;
use crate::commands::playbook::shown::PlanForm;
use crate::desk::Desk;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::files;
use crate::output::{Report, View, printable};
use crate::playbooks::{self, Folder};

/// The largest mapping, in bytes.
const MAX_MAPPING: u64 = 256 << 10;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tested {
    schema: &'static str,
    source: EventSource,
    events: Vec<TestedEvent>,
    /// Playbooks of the library that have faults, and so would not be started by anything.
    faulty: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TestedEvent {
    event: Event,
    /// Those that have triggers for the source.
    playbooks: Vec<TestedPlaybook>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TestedPlaybook {
    playbook: String,
    triggers: Vec<Tried>,
    /// What the run would do; absent where no trigger fits, with `--no-plan`, and where there is a problem.
    plan: Option<Plan>,
    /// Why there is no plan.
    problem: Option<String>,
}

pub(crate) fn run(app: &App, arguments: &EventTestArgs) -> Result<ExitCode> {
    let body = body(&arguments.file)?;
    let source = match arguments.source {
        Some(source) => source.into(),
        None => recognise(&body).ok_or_else(|| {
            Error::Usage(format!(
                "'{}' looks like no alert that is known: say where it is from with --source",
                arguments.file.display()
            ))
        })?,
    };
    let mapping = arguments.mapping.as_deref().map(mapping).transpose()?;
    if mapping.is_some() && source != EventSource::Generic {
        return Err(Error::Usage("--mapping is for the source generic only".to_owned()));
    }
    let headers: Vec<(String, &str)> =
        arguments.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_str())).collect();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let received = Received { body: &body, headers: &headers, at: app.output.view().now };
    let events = normalise(source, mapping.as_ref(), received)?;
    let (library, faulty) = library(arguments)?;
    block_on(async |cancel| {
        let mut tested = Tested { schema: "lifeboat.dev/event-test/v1", source, events: Vec::new(), faulty };
        let mut trial = Trial { app, arguments, library: &library, desk: None, cancel: &cancel };
        for event in events {
            let playbooks = trial.of(&event).await?;
            tested.events.push(TestedEvent { event, playbooks });
        }
        app.output.print(&tested)?;
        Ok(tested.exit())
    })
}

/// What events are tried on.
struct Trial<'a> {
    app: &'a App,
    arguments: &'a EventTestArgs,
    library: &'a [Playbook],
    /// Opened when there is something to plan.
    desk: Option<Desk>,
    cancel: &'a CancellationToken,
}

impl Trial<'_> {
    async fn of(&mut self, event: &Event) -> Result<Vec<TestedPlaybook>> {
        let mut playbooks = Vec::new();
        for playbook in self.library {
            let triggers = playbook.tried(event).await;
            if triggers.is_empty() {
                continue;
            }
            let name = playbook.name().to_owned();
            let mut one = TestedPlaybook { playbook: name, triggers, plan: None, problem: None };
            let fitting = one.triggers.iter().find_map(|tried| match &tried.fit {
                Fit::Yes(inputs) => Some((tried.trigger.clone(), inputs.clone())),
                _ => None,
            });
            if let (Some((trigger, inputs)), false) = (fitting, self.arguments.no_plan) {
                match self.plan(playbook, trigger, inputs).await {
                    Ok(plan) => one.plan = Some(plan),
                    Err(Error::Engine(error)) => one.problem = Some(lifeboat_recovery::chain(&error)),
                    Err(error) => return Err(error),
                }
            }
            playbooks.push(one);
        }
        Ok(playbooks)
    }

    async fn plan(&mut self, playbook: &Playbook, trigger: String, inputs: Map<String, Value>) -> Result<Plan> {
        let desk = match &mut self.desk {
            Some(desk) => desk,
            none => {
                let opened = Desk::for_events(self.app, &self.arguments.cluster, &self.arguments.state);
                none.insert(unless_cancelled(self.cancel, opened).await?)
            }
        };
        let request = Request { inputs, requester: desk.requester.clone(), trigger: Some(trigger) };
        Ok(desk.engine.plan(playbook, &request, self.cancel).await?)
    }
}

/// The alert, within bounds.
fn body(path: &Path) -> Result<Vec<u8>> {
    let limit = MAX_ALERT_BYTES as u64;
    if path != Path::new("-") {
        return files::read(path, limit);
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(limit + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes)
}

fn mapping(path: &Path) -> Result<Mapping> {
    let text = files::read_text(path, MAX_MAPPING)?;
    let spec: MappingSpec = lifeboat_model::parse_yaml(&path.display().to_string(), &text)?;
    Ok(Mapping::compile(&spec)?)
}

/// The playbooks that have triggers, and the names of those that have faults.
fn library(arguments: &EventTestArgs) -> Result<(Vec<Playbook>, Vec<String>)> {
    let registry = playbooks::registry()?;
    let folder = &arguments.library.library;
    let (mut good, mut faulty) = (Vec::new(), Vec::new());
    for name in Folder(folder).names() {
        match playbooks::check(&folder.join(format!("{name}.yaml")), &registry, &arguments.library)? {
            Ok(playbook) => good.push(playbook),
            Err(_) => faulty.push(name),
        }
    }
    Ok((good, faulty))
}

impl Tested {
    fn exit(&self) -> ExitCode {
        let playbooks = || self.events.iter().flat_map(|event| &event.playbooks);
        let refused = |one: &TestedPlaybook| {
            one.problem.is_some() || one.plan.as_ref().is_some_and(|plan| PlanForm::of(plan).exit() != ExitCode::Done)
        };
        if !self.faulty.is_empty() {
            ExitCode::Usage
        } else if playbooks().any(refused) {
            ExitCode::Refused
        } else {
            ExitCode::Done
        }
    }
}

impl Report for Tested {
    fn text(&self, view: &View) -> String {
        let mut text = String::new();
        if self.events.is_empty() {
            text.push_str("no events: nothing in it is to be acted on\n");
        }
        for (place, one) in self.events.iter().enumerate() {
            if place > 0 {
                text.push('\n');
            }
            event(&mut text, &one.event, view);
            let mut fits = false;
            for playbook in &one.playbooks {
                fits |= tried(&mut text, playbook, view);
            }
            if !fits {
                text.push_str("\nno playbook would be started\n");
            }
        }
        for name in &self.faulty {
            let name = printable(name);
            let _ = writeln!(text, "\n{name}: has faults, and is never started: 'lifeboat playbook lint' tells them");
        }
        text
    }
}

fn event(text: &mut String, event: &Event, view: &View) {
    let _ = writeln!(text, "{} ({})", view.style.strong(&printable(&event.rule)), severity(event.severity));
    let target = &event.target;
    let object = &target.object;
    let tags = event.tags.join(", ");
    let time = event.time.to_string();
    for (name, value) in [
        ("id", event.id.as_str()),
        ("time", time.as_str()),
        ("text", event.text.as_str()),
        ("tags", tags.as_str()),
        ("namespace", target.namespace.as_str()),
        ("pod", target.pod.as_str()),
        ("container", target.container.as_str()),
        ("container id", target.container_id.as_str()),
        ("node", target.node.as_str()),
        ("image", target.image.as_str()),
        ("image digest", target.digest.as_str()),
        ("user", target.user.as_str()),
        ("group", object.group.as_str()),
        ("kind", object.kind.as_str()),
        ("resource", object.resource.as_str()),
        ("subresource", object.subresource.as_str()),
        ("name", object.name.as_str()),
    ] {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name}: {}", printable(value));
        }
    }
    for doubt in &event.doubts {
        let _ = writeln!(text, "  {} {}", view.style.warning("left empty:"), printable(doubt));
    }
}

/// Tells of a playbook's triggers; whether one fits.
fn tried(text: &mut String, one: &TestedPlaybook, view: &View) -> bool {
    let name = view.style.strong(&printable(&one.playbook));
    let mut fits = false;
    for Tried { trigger, fit } in &one.triggers {
        let trigger = printable(trigger);
        match fit {
            Fit::No => {}
            Fit::Unknown(reason) => {
                let _ = writeln!(text, "\n{name}: trigger {trigger} cannot be evaluated: {}", printable(reason));
            }
            Fit::Inputs(reason) => {
                fits = true;
                let reason = printable(reason);
                let _ = writeln!(text, "\n{name}: trigger {trigger} fits, but nothing is started: {reason}");
            }
            Fit::Yes(inputs) => {
                fits = true;
                let _ = writeln!(text, "\n{name} would be started by its trigger {trigger}");
                for (name, value) in inputs {
                    let _ = writeln!(text, "  {}: {}", printable(name), printable(&value.to_string()));
                }
            }
        }
    }
    if let Some(plan) = &one.plan {
        let _ = write!(text, "\n{}", PlanForm::of(plan).text(view));
    }
    if let Some(problem) = &one.problem {
        let _ = writeln!(text, "  {}: {}", view.style.bad("it cannot be planned"), printable(problem));
    }
    fits
}

fn severity(number: u8) -> &'static str {
    lifeboat_playbook::SEVERITIES.get(usize::from(number)).copied().unwrap_or_default()
}
