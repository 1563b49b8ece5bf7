//! A plan while it is performed: wave after wave, each object noted when it is done.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lifeboat_kubernetes::{ObjectPath, is_established};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::entries::Entry;
use super::feed::{Fed, Feed};
use super::judge::options as write_options;
use super::owners::Owners;
use super::perform::Options;
use super::plan::{Plan, PlannedKind, Span, Verdict};
use super::report::Report;
use super::request::Concurrency;
use super::saved::{Done, Journal, Step, Unfinished};
use super::target::Target;
use super::wanted::{self, Wanted};
use super::write::{Failure, Writer, is_of_all};
use crate::error::{Error, Result};
use crate::rules::{self, Links, Transforms};
use crate::{OpenBackup, Track};

/// How long a definition may take to be established, and a resource to be served.
const ESTABLISHED: Duration = Duration::from_mins(1);

/// What changes while a plan is performed.
pub(super) struct State {
    owners: Owners,
    journal: Journal,
    report: Mutex<Report>,
    done: HashMap<u32, Done>,
    pending: Mutex<Vec<u32>>,
    failed_namespaces: Mutex<HashSet<Box<str>>>,
    failed_kinds: Mutex<HashSet<u32>>,
    resumed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    pub(super) fn new(plan: &Plan, journal: Journal, unfinished: Option<&Unfinished>) -> Result<Self> {
        let this = Self {
            owners: Owners::of(plan),
            journal,
            report: Mutex::new(Report::of(plan)),
            done: unfinished.map(|unfinished| unfinished.done.clone()).unwrap_or_default(),
            pending: Mutex::new(unfinished.map(|unfinished| unfinished.pending.clone()).unwrap_or_default()),
            failed_namespaces: Mutex::default(),
            failed_kinds: Mutex::default(),
            resumed: unfinished.is_some(),
        };
        for done in this.done.values() {
            let entry = plan.entries.get(done.entry);
            let entry = entry.ok_or_else(|| Error::Inconsistent("the journal is not of its plan".to_owned()))?;
            this.owners.there(entry.uid, &done.uid);
            this.count(done.step);
        }
        Ok(this)
    }

    fn count(&self, step: Step) {
        let mut report = lock(&self.report);
        match step {
            Step::Created => report.created += 1,
            Step::Applied => report.applied += 1,
            Step::Unchanged => report.unchanged += 1,
            Step::Recreated => report.recreated += 1,
            Step::Pruned => report.pruned += 1,
            Step::OwnersPending | Step::OwnersSet => {}
        }
    }
}

/// Does what remains to be done of a plan.
pub(super) async fn run(
    open: &OpenBackup,
    target: Target,
    plan: &Plan,
    options: &Options,
    progress: &Track,
    state: State,
) -> Result<Report> {
    let began = Instant::now();
    let kinds = plan.header.kinds.clone();
    let cancel = open.backup().context().cancel.clone();
    let transforms = plan.transforms()?;
    let mut run =
        Run { open, target, plan, kinds, transforms, concurrency: options.concurrency, progress, cancel, state };
    let outcome = run.all().await;
    let Run { state, .. } = run;
    let mut journal = state.journal;
    let closed = journal.close();
    let mut report = state.report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.duration = began.elapsed();
    for notes in [&mut report.failed, &mut report.blocked, &mut report.differing] {
        notes.sort();
    }
    match closed.and(outcome) {
        Ok(()) => {
            if report.ok() {
                journal.remove()?;
            }
            Ok(report)
        }
        Err(source) => {
            let acting = plan.entries.iter().filter(|entry| entry.verdict.acts()).count() as u64;
            let done = report.created + report.applied + report.recreated + report.pruned;
            let journal = options.journal.clone();
            Err(Error::Stopped { done, of: acting, journal, source: Box::new(source) })
        }
    }
}

/// A plan while it is performed.
struct Run<'a> {
    open: &'a OpenBackup,
    target: Target,
    plan: &'a Plan,
    /// The plan's kinds; those that were not served yet get their version once they are.
    kinds: Vec<PlannedKind>,
    transforms: Transforms,
    concurrency: Concurrency,
    progress: &'a Track,
    cancel: CancellationToken,
    state: State,
}

impl Run<'_> {
    async fn all(&mut self) -> Result<()> {
        let mut linked = false;
        for stage in self.stages() {
            if !linked && self.may_refuse(&stage) {
                // What is written afterwards to others may be refused.
                self.link_late().await?;
                linked = true;
            }
            self.stage(stage.clone()).await?;
            self.settle(stage).await?;
        }
        self.state.owners.settle();
        self.link_late().await?;
        self.prune().await
    }

    /// Whether objects of a stage decide about what is written after them.
    fn may_refuse(&self, stage: &Range<usize>) -> bool {
        let first = self.plan.entries.numbered(stage.clone()).next().and_then(|(_, entry)| self.entry_kind(entry));
        first.is_some_and(|kind| rules::wave(&kind.resource).may_refuse())
    }

    /// Entries that may be worked on at the same time: those of one wave, and of it those that come early.
    fn stages(&self) -> Vec<Range<usize>> {
        let turn = |entry: Entry<'_>| {
            let kind = usize::try_from(entry.kind).ok().and_then(|kind| self.kinds.get(kind));
            (kind.map(|kind| kind.wave), !entry.early)
        };
        let mut stages: Vec<Range<usize>> = Vec::new();
        let mut last = None;
        for (number, entry) in self.plan.entries.iter().enumerate() {
            if matches!(entry.verdict, Verdict::Prune { .. }) {
                break;
            }
            match stages.last_mut() {
                Some(stage) if last == Some(turn(entry)) => stage.end = number + 1,
                _ => stages.push(number..number + 1),
            }
            last = Some(turn(entry));
        }
        stages
    }

    fn entry(&self, number: u32) -> Result<(Entry<'_>, &PlannedKind)> {
        let entry = self.plan.entries.get(number);
        let kind = entry.and_then(|entry| self.kinds.get(usize::try_from(entry.kind).ok()?));
        entry.zip(kind).ok_or(Error::Lost("restoring"))
    }

    /// The entries of a stage that remain to be done.
    fn remaining(&self, stage: Range<usize>) -> impl Iterator<Item = (u32, Entry<'_>)> {
        self.plan
            .entries
            .numbered(stage)
            .filter(|(number, entry)| entry.verdict.acts() && !self.state.done.contains_key(number))
    }

    async fn stage(&self, stage: Range<usize>) -> Result<()> {
        let mut spans = Vec::new();
        for (number, entry) in self.remaining(stage) {
            self.check_cancelled()?;
            match (self.obstacle(entry), entry.source) {
                (Some(reason), _) => {
                    lock(&self.state.report).blocked.add(number, &reason);
                    self.state.owners.gone(entry.uid);
                }
                (None, Some(span)) => spans.push((number, span)),
                (None, None) => {
                    let wanted = Wanted::bare_namespace(entry.name, &self.plan.header.backup);
                    self.one(number, wanted).await?;
                }
            }
        }
        self.feed(spans).run(self.concurrency, |fed| self.start(fed), Ok).await
    }

    fn feed(&self, spans: Vec<(u32, Span)>) -> Feed {
        Feed::of(self.open, spans)
    }

    fn check_cancelled(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Why an entry cannot be restored: what it needs has failed.
    fn obstacle(&self, entry: Entry<'_>) -> Option<String> {
        if lock(&self.state.failed_kinds).contains(&entry.kind) {
            return Some("the definition of its kind could not be restored".to_owned());
        }
        let namespace = entry.namespace?;
        let failed = lock(&self.state.failed_namespaces).contains(namespace);
        failed.then(|| format!("its namespace '{namespace}' could not be restored"))
    }

    fn start(&self, fed: Fed) -> Result<impl Future<Output = Result<()>>> {
        self.check_cancelled()?;
        Ok(async move {
            let (entry, kind) = self.entry(fed.number)?;
            let object = wanted::parse(&fed.json)?;
            let created = matches!(entry.verdict, Verdict::Create { .. } | Verdict::Recreate { .. });
            let wanted = Wanted::prepare(object, kind, entry, &self.transforms, created)?;
            self.one(fed.number, wanted).await
        })
    }

    /// Restores one object.
    async fn one(&self, number: u32, mut wanted: Wanted) -> Result<()> {
        let (entry, kind) = self.entry(number)?;
        let linked = rules::relink(&kind.resource, &wanted.owners, |uid| self.state.owners.get(uid));
        let links = linked.links;
        wanted.set_owners(linked.references);
        if links == Links::Pending {
            self.state.journal.note(Done { entry: number, step: Step::OwnersPending, uid: "".into() })?;
            lock(&self.state.pending).push(number);
        }
        let resource = kind.target();
        let path = ObjectPath { resource: &resource, namespace: entry.namespace, name: entry.name };
        let include_status = self.plan.header.settings.include_status;
        let writer = Writer {
            cluster: &self.target.cluster,
            backup: &self.plan.header.backup,
            path,
            include_status,
            resumed: self.state.resumed,
        };
        match writer.write(entry.verdict, wanted).await {
            Ok(written) => {
                let uid = wanted::text(&written.object, "/metadata/uid");
                self.state.owners.there(entry.uid, uid);
                self.state.journal.note(Done { entry: number, step: written.step, uid: uid.into() })?;
                self.state.count(written.step);
                self.progress.add_objects(1);
                let mut differences = written.differences;
                if links == Links::OwnerGone {
                    differences.push("its owner is not on the target: it has none".to_owned());
                }
                if !differences.is_empty() {
                    lock(&self.state.report).differing.add(number, &differences.join("; "));
                }
                Ok(())
            }
            Err(Failure::Stop(error)) => Err(error),
            Err(Failure::Object(message)) => {
                self.fail(number, &message);
                Ok(())
            }
        }
    }

    /// Takes note of an object that could not be restored, and of what cannot be without it.
    fn fail(&self, number: u32, message: &str) {
        lock(&self.state.report).failed.add(number, message);
        lock(&self.state.pending).retain(|pending| *pending != number);
        let Ok((entry, kind)) = self.entry(number) else { return };
        tracing::warn!(object = self.plan.name(entry), message, "not restored");
        self.state.owners.gone(entry.uid);
        if kind.is("", "namespaces") && matches!(entry.verdict, Verdict::Create { .. }) {
            lock(&self.state.failed_namespaces).insert(entry.name.into());
        }
        if is_definitions(kind) {
            let mut failed = lock(&self.state.failed_kinds);
            let defined = (0_u32..).zip(&self.kinds).filter(|(_, kind)| defines(entry.name, kind));
            failed.extend(defined.filter(|(_, kind)| kind.served.is_none()).map(|(number, _)| number));
        }
    }

    /// Waits until what was restored can be built upon.
    async fn settle(&mut self, stage: Range<usize>) -> Result<()> {
        let definitions: Vec<(u32, Entry<'_>)> = self
            .plan
            .entries
            .numbered(stage)
            .filter(|(_, entry)| entry.verdict.acts() && self.entry_kind(*entry).is_some_and(is_definitions))
            .collect();
        if definitions.is_empty() || self.kinds.iter().all(|kind| kind.served.is_some()) {
            return Ok(());
        }
        for (number, entry) in definitions {
            let Some(kind) = self.entry_kind(entry) else { continue };
            let resource = kind.target();
            let path = ObjectPath { resource: &resource, namespace: None, name: entry.name };
            let failed = lock(&self.state.failed_kinds).clone();
            let mut awaited = (0_u32..).zip(&self.kinds).filter(|(number, _)| !failed.contains(number));
            if !awaited.any(|(_, kind)| kind.served.is_none() && defines(entry.name, kind)) {
                continue;
            }
            let reached = |object: Option<&Value>| object.is_some_and(is_established);
            match self.target.cluster.wait_until(path, ESTABLISHED, reached).await {
                Ok(_) => {}
                Err(error) if is_of_all(&error) => return Err(error.into()),
                Err(error) => self.fail(number, &crate::chain(&error)),
            }
        }
        self.find_served().await
    }

    fn entry_kind(&self, entry: Entry<'_>) -> Option<&PlannedKind> {
        self.kinds.get(usize::try_from(entry.kind).ok()?)
    }

    /// Asks again for what was not served before.
    async fn find_served(&mut self) -> Result<()> {
        let failed = lock(&self.state.failed_kinds).clone();
        let mut waited = Vec::new();
        for (number, kind) in (0_u32..).zip(&self.kinds) {
            let planned = self.plan.entries.iter().any(|entry| entry.kind == number && entry.verdict.acts());
            if kind.served.is_some() || failed.contains(&number) || !planned {
                continue;
            }
            match self.target.cluster.wait_served(&kind.resource, ESTABLISHED).await {
                Ok(()) => waited.push(number),
                Err(error) if is_of_all(&error) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(kind = %kind.resource.group_resource(), error = crate::chain(&error), "not served");
                    lock(&self.state.failed_kinds).insert(number);
                }
            }
        }
        self.target.refresh().await?;
        for (number, kind) in (0_u32..).zip(&mut self.kinds) {
            if waited.contains(&number) {
                kind.served = self.target.served(&kind.resource).await?;
            }
        }
        Ok(())
    }

    /// Sets the references to owners that came after what they own.
    async fn link_late(&self) -> Result<()> {
        let mut pending = std::mem::take(&mut *lock(&self.state.pending));
        pending.sort_unstable();
        let mut spans = Vec::new();
        for number in pending {
            spans.extend(self.entry(number)?.0.source.map(|span| (number, span)));
        }
        let start = |fed: Fed| {
            self.check_cancelled()?;
            Ok(async move {
                match self.link(&fed).await {
                    Ok(()) => Ok(()),
                    Err(Failure::Stop(error)) => Err(error),
                    Err(Failure::Object(message)) => {
                        let message = format!("references to its owners could not be set: {message}");
                        lock(&self.state.report).differing.add(fed.number, &message);
                        Ok(())
                    }
                }
            })
        };
        self.feed(spans).run(self.concurrency, start, Ok).await
    }

    async fn link(&self, fed: &Fed) -> std::result::Result<(), Failure> {
        let (entry, kind) = self.entry(fed.number)?;
        let object = wanted::parse(&fed.json)?;
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array).cloned().unwrap_or_default();
        let linked = rules::relink(&kind.resource, &owners, |uid| self.state.owners.get(uid));
        if linked.links == Links::Pending {
            lock(&self.state.pending).push(fed.number);
            return Ok(());
        }
        let rules::Owner::There(uid) = self.state.owners.get(entry.uid) else { return Ok(()) };
        if !linked.references.is_empty() {
            let change = json!({"metadata": {"uid": uid, "ownerReferences": linked.references}});
            let resource = kind.target();
            let path = ObjectPath { resource: &resource, namespace: entry.namespace, name: entry.name };
            self.target.cluster.merge_patch(path, wanted::bytes(&change), write_options(false)).await?;
        }
        self.state.journal.note(Done { entry: fed.number, step: Step::OwnersSet, uid: "".into() })?;
        if linked.links == Links::OwnerGone {
            lock(&self.state.report).differing.add(fed.number, "an owner is not on the target: it is left out");
        }
        Ok(())
    }

    /// Deletes what the backup does not have, last.
    async fn prune(&self) -> Result<()> {
        let pruned = self.remaining(0..self.plan.entries.len());
        for (number, _) in pruned.filter(|(_, entry)| matches!(entry.verdict, Verdict::Prune { .. })) {
            self.check_cancelled()?;
            self.one(number, Wanted::nothing()).await?;
        }
        Ok(())
    }
}

fn is_definitions(kind: &PlannedKind) -> bool {
    kind.is("apiextensions.k8s.io", "customresourcedefinitions")
}

/// Whether the definition of that name is that of the kind.
fn defines(name: &str, kind: &PlannedKind) -> bool {
    name == kind.resource.group_resource().to_string()
}
