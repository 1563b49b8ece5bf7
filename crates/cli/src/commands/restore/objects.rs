//! `restore objects`.

mod forms;
mod words;

use std::path::PathBuf;

use lifeboat_kubernetes::Cluster;
use lifeboat_recovery::restore_objects::{
    Options, PatchSource, Plan, Report, Request, Settings, Unfinished, perform, plan, resume,
};
use lifeboat_recovery::{BackupRef, Clock as _, Expression, OpenBackup, Selection, Track};
use tokio_util::sync::CancellationToken;

use crate::app::{App, block_on, unless_cancelled};
use crate::args::RestoreObjectsArgs;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::{files, keys, progress, prompt, sources};

/// The largest file of patches.
const MAX_PATCH: u64 = 1 << 20;

pub(crate) fn run(app: &App, arguments: &RestoreObjectsArgs) -> Result<ExitCode> {
    let asked = Asked::of(arguments)?;
    block_on(async |cancel| restore(app, arguments, asked, cancel).await)
}

/// What is asked for, read before anything else is done.
enum Asked {
    New(Box<Request>),
    Saved(Box<Plan>),
    Resumed,
}

impl Asked {
    fn of(arguments: &RestoreObjectsArgs) -> Result<Self> {
        if arguments.resume {
            return Ok(Self::Resumed);
        }
        match &arguments.plan {
            Some(path) => Ok(Self::Saved(Box::new(Plan::load(path)?))),
            None => Ok(Self::New(Box::new(request(arguments)?))),
        }
    }
}

fn request(arguments: &RestoreObjectsArgs) -> Result<Request> {
    let (chosen, changed) = (&arguments.selection, &arguments.transforms);
    let expression = chosen.expression.as_deref().map(Expression::compile);
    let expression = expression.transpose().map_err(|problem| Error::Usage(format!("--where: {problem}")))?;
    let patches = changed.patch.iter().map(|path| {
        let text = files::read_text(path, MAX_PATCH)?;
        Ok(PatchSource { name: path.display().to_string(), text })
    });
    Ok(Request {
        selection: Selection {
            kinds: chosen.kind.clone(),
            namespaces: chosen.namespace.clone(),
            names: chosen.name.clone(),
            labels: chosen.selector.clone(),
        },
        expression,
        settings: Settings {
            mode: arguments.mode.into(),
            include_status: changed.include_status,
            keep_node_ports: changed.keep_node_ports,
            namespaces: mapping("--map-namespace", &changed.map_namespace)?,
            storage_classes: mapping("--map-storage-class", &changed.map_storage_class)?,
            patches: patches.collect::<Result<_>>()?,
        },
    })
}

fn mapping(option: &str, pairs: &[(String, String)]) -> Result<std::collections::BTreeMap<String, String>> {
    let mut mapping = std::collections::BTreeMap::new();
    for (from, to) in pairs {
        if mapping.insert(from.clone(), to.clone()).is_some() {
            return Err(Error::Usage(format!("{option} maps '{from}' twice")));
        }
    }
    Ok(mapping)
}

async fn restore(
    app: &App,
    arguments: &RestoreObjectsArgs,
    asked: Asked,
    cancel: CancellationToken,
) -> Result<ExitCode> {
    let prepared = prepare(app, arguments, &asked, cancel.clone());
    let (open, cluster) = unless_cancelled(&cancel, prepared).await?;
    let journal = journal(app, arguments, &open, &cluster).await?;
    let plan = match asked {
        Asked::Resumed => {
            let unfinished = Unfinished::read(&journal)?;
            return go_on(app, arguments, &open, cluster, journal, unfinished).await;
        }
        Asked::Saved(plan) => *plan,
        Asked::New(request) => {
            let track = Track::default();
            let made = plan(&open, cluster.clone(), &request, arguments.concurrency.unwrap_or_default(), &track);
            let made = progress::count(&app.bars, "planning", &track, None, made);
            unless_cancelled(&cancel, Box::pin(async { Ok(made.await?) })).await?
        }
    };
    if let Some(path) = &arguments.save_plan {
        plan.save(path)?;
    }
    if arguments.dry_run || arguments.save_plan.is_some() {
        app.output.print(&forms::PlanForm::of(&plan, arguments.details))?;
        return Ok(if plan.blockers().next().is_some() { ExitCode::Refused } else { ExitCode::Done });
    }
    words::show(app, &plan, arguments.details);
    confirm(&plan, arguments, &cancel).await?;
    let options = options(arguments, journal);
    let track = Track::default();
    let acting = acting(&plan);
    let performed = perform(&open, cluster, &plan, &options, &track);
    let report = progress::count(&app.bars, "restoring", &track, Some(acting), performed).await?;
    finish(app, &plan, &report)
}

async fn go_on(
    app: &App,
    arguments: &RestoreObjectsArgs,
    open: &OpenBackup,
    cluster: Cluster,
    journal: PathBuf,
    unfinished: Unfinished,
) -> Result<ExitCode> {
    tracing::info!("going on with a restore of which {} objects are done", unfinished.done());
    let options = options(arguments, journal);
    let track = Track::default();
    let remaining = acting(&unfinished.plan).saturating_sub(unfinished.done() as u64);
    let performed = resume(open, cluster, &unfinished, &options, &track);
    let report = progress::count(&app.bars, "restoring", &track, Some(remaining), performed).await?;
    finish(app, &unfinished.plan, &report)
}

fn acting(plan: &Plan) -> u64 {
    let counts = plan.counts();
    counts.create + counts.apply + counts.recreate + counts.prune
}

fn finish(app: &App, plan: &Plan, report: &Report) -> Result<ExitCode> {
    app.output.print(&forms::ReportForm::of(plan, report))?;
    Ok(if report.ok() { ExitCode::Done } else { ExitCode::Partial })
}

/// The backup, opened, and the cluster.
async fn prepare(
    app: &App,
    arguments: &RestoreObjectsArgs,
    asked: &Asked,
    cancel: CancellationToken,
) -> Result<(OpenBackup, Cluster)> {
    let identities = std::sync::Arc::new(keys::identities(&arguments.identity)?);
    let config = app.config(&sources::overrides(&arguments.cluster))?;
    let wanted = match asked {
        Asked::Saved(plan) => BackupRef::Id(plan.header().backup.to_string()),
        Asked::New(_) | Asked::Resumed => arguments.backup.clone().unwrap_or(BackupRef::Latest),
    };
    let opening = async {
        let catalog = lifeboat_recovery::Catalog::open(sources::context(&config, cancel).await?).await?;
        Ok::<_, Error>(OpenBackup::open(catalog.get(&wanted).await?, identities).await?)
    };
    let connecting = async { Ok(Cluster::connect(sources::kubernetes(&config.kubernetes)).await?) };
    tokio::try_join!(opening, connecting)
}

/// Where what has been done is noted: one file for each backup and target.
async fn journal(app: &App, arguments: &RestoreObjectsArgs, open: &OpenBackup, cluster: &Cluster) -> Result<PathBuf> {
    if let Some(path) = &arguments.journal {
        return Ok(path.clone());
    }
    let state = app.environment.state_home();
    let state = state.ok_or_else(|| {
        Error::Usage("there is no home folder for the journal: name a file with --journal".to_owned())
    })?;
    let folder = state.join("lifeboat").join("restores");
    files::make_private_folder(&folder)?;
    let target: String =
        cluster.cluster_id().await?.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
    Ok(folder.join(format!("{}-into-{target}.journal", open.backup().manifest().id)))
}

fn options(arguments: &RestoreObjectsArgs, journal: PathBuf) -> Options {
    let host = rustix::system::uname();
    let holder = format!(
        "{}, process {}, {:08x}",
        host.nodename().to_string_lossy(),
        std::process::id(),
        sources::System.random() & 0xffff_ffff
    );
    Options { journal, concurrency: arguments.concurrency.unwrap_or_default(), holder }
}

/// Asks whether to go ahead, and by name about each namespace in which something is deleted.
async fn confirm(plan: &Plan, arguments: &RestoreObjectsArgs, cancel: &CancellationToken) -> Result<()> {
    if acting(plan) == 0 || plan.blockers().next().is_some() {
        return Ok(());
    }
    let pruned =
        plan.pruned_namespaces().into_iter().filter(|name| !arguments.confirm.iter().any(|given| given == name));
    let pruned: Vec<String> = pruned.map(str::to_owned).collect();
    let ask = !arguments.yes && (plan.pruned_namespaces().is_empty() || !pruned.is_empty());
    let asked = tokio::task::spawn_blocking(move || {
        for name in &pruned {
            prompt::confirm_by(
                &format!("Type the name of the namespace in which objects are deleted, '{name}':"),
                name,
            )?;
        }
        if ask && pruned.is_empty() { prompt::confirm("Type 'yes' to go ahead:") } else { Ok(()) }
    });
    let asked = async { asked.await.unwrap_or(Err(Error::Interrupted)) };
    unless_cancelled(cancel, asked).await
}
