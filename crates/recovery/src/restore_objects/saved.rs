//! A plan as a file, and the journal, which is a plan followed by what has been done of it.
//!
//! Lines of JSON: the header, the entries, `{"plan":"<hash>"}`; and in a journal, outcomes. A last line that is cut off,
//! as by a crash, is not believed.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use lifeboat_model::Digest;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry};
use super::plan::{Header, Plan, SCHEMA, Span, Verdict};
use crate::error::{Error, Result};

/// The longest line that is read: a header with its patches.
const MAX_LINE: u64 = 16 << 20;
/// The most entries that are read.
const MAX_ENTRIES: usize = 5_000_000;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    plan: Digest,
}

/// What has been done of one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Done {
    /// Which entry.
    pub(super) entry: u32,
    /// What was done.
    pub(super) step: Step,
    /// The UID that the object has now; empty where it is gone.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub(super) uid: Box<str>,
}

/// A step of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Step {
    /// It was created, and so were the references to its owners.
    Created,
    /// It was made equal.
    Applied,
    /// It was found as it is to be.
    Unchanged,
    /// It was deleted and created.
    Recreated,
    /// It was deleted.
    Pruned,
    /// Some of its owners were not there yet: references to them remain to be set. Comes before the step itself.
    OwnersPending,
    /// The references that were pending are set.
    OwnersSet,
}

impl Plan {
    /// Writes the plan into a new file, which only its owner can read: patches may hold secrets.
    ///
    /// # Errors
    /// When the file is there already, or cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(Error::io("create", path))?;
        self.write_to(file, path).map(drop)
    }

    fn write_to(&self, file: File, path: &Path) -> Result<File> {
        let mut writer = BufWriter::new(file);
        self.write_lines(&mut writer)
            .and_then(|()| serde_json::to_writer(&mut writer, &End { plan: self.hash() }).map_err(Into::into))
            .and_then(|()| writer.write_all(b"\n"))
            .map_err(Error::io("write", path))?;
        let file = writer.into_inner().map_err(|error| Error::io("write", path)(error.into_error()))?;
        file.sync_all().map_err(Error::io("write", path))?;
        Ok(file)
    }

    /// Reads a plan back.
    ///
    /// # Errors
    /// When the file cannot be read, is none of a plan, or was changed since.
    pub fn load(path: &Path) -> Result<Self> {
        let file = open("plan", path)?;
        read_plan(&mut Lines::new(file, path))
    }
}

fn open(what: &'static str, path: &Path) -> Result<File> {
    File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::NoFile { what, path: path.to_owned() },
        _ => Error::io("open", path)(error),
    })
}

/// The lines of a file, each within bounds.
struct Lines<'a> {
    reader: BufReader<File>,
    path: &'a Path,
    line: Vec<u8>,
    /// Bytes of the lines that were whole.
    whole: u64,
}

impl<'a> Lines<'a> {
    fn new(file: File, path: &'a Path) -> Self {
        Self { reader: BufReader::new(file), path, line: Vec::new(), whole: 0 }
    }

    /// The next line that is whole.
    fn next(&mut self) -> Result<Option<&[u8]>> {
        self.line.clear();
        let read = (&mut self.reader).take(MAX_LINE).read_until(b'\n', &mut self.line);
        let read = read.map_err(Error::io("read", self.path))?;
        if !self.line.ends_with(b"\n") {
            return Ok(None);
        }
        self.whole += read as u64;
        Ok(Some(&self.line))
    }

    fn invalid(&self, problem: &str) -> Error {
        Error::NoPlan { path: self.path.to_owned(), problem: problem.to_owned() }
    }
}

/// An entry as it is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReadEntry {
    kind: u32,
    namespace: Option<String>,
    name: String,
    #[serde(default)]
    uid: String,
    source: Option<Span>,
    #[serde(default)]
    early: bool,
    verdict: Verdict,
}

impl ReadEntry {
    fn entry(&self) -> Entry<'_> {
        let Self { kind, namespace, name, uid, source, early, verdict } = self;
        Entry { kind: *kind, namespace: namespace.as_deref(), name, uid, source: *source, early: *early, verdict }
    }
}

fn read_plan(lines: &mut Lines<'_>) -> Result<Plan> {
    let parsed = match lines.next()? {
        Some(line) => serde_json::from_slice::<Header>(line).map_err(|error| error.to_string()),
        None => Err("it is empty, or cut off".to_owned()),
    };
    let header = match parsed {
        Ok(header) if header.schema == SCHEMA => header,
        Ok(_) => return Err(lines.invalid("it has another form")),
        Err(problem) => return Err(lines.invalid(&problem)),
    };
    let mut entries = Entries::default();
    let end: End = loop {
        let Some(line) = lines.next()? else { return Err(lines.invalid("it is cut off")) };
        if line.starts_with(b"{\"plan\"") {
            let end = serde_json::from_slice(line);
            break end.map_err(|error| lines.invalid(&error.to_string()))?;
        }
        let read = serde_json::from_slice::<ReadEntry>(line);
        let read = read.map_err(|error| lines.invalid(&error.to_string()))?;
        let entry = read.entry();
        let known = usize::try_from(entry.kind).is_ok_and(|kind| kind < header.kinds.len());
        if !known || entries.len() == MAX_ENTRIES {
            return Err(lines.invalid("an entry is of no kind of the plan, or there are too many"));
        }
        entries.push(entry).map_err(|error| lines.invalid(&error.to_string()))?;
    };
    entries.shrink();
    let plan = Plan { header, entries };
    if plan.hash() != end.plan {
        return Err(lines.invalid("it was changed since it was made"));
    }
    Ok(plan)
}

/// What a journal tells of a restore that was not finished.
#[derive(Debug)]
pub struct Unfinished {
    /// The plan.
    pub plan: Plan,
    /// What has been done, by entry.
    pub(super) done: HashMap<u32, Done>,
    /// Entries with references to owners that remain to be set.
    pub(super) pending: Vec<u32>,
    /// Bytes of the journal that are whole.
    whole: u64,
    path: PathBuf,
}

impl Unfinished {
    /// Reads a journal.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn read(path: &Path) -> Result<Self> {
        let file = open("journal of an unfinished restore", path)?;
        let mut lines = Lines::new(file, path);
        let plan = read_plan(&mut lines)?;
        let (mut done, mut pending) = (HashMap::new(), std::collections::BTreeSet::new());
        while let Some(line) = lines.next()? {
            let step = serde_json::from_slice::<Done>(line).map_err(|error| lines.invalid(&error.to_string()))?;
            match step.step {
                Step::OwnersPending => drop(pending.insert(step.entry)),
                Step::OwnersSet => drop(pending.remove(&step.entry)),
                _ => drop(done.insert(step.entry, step)),
            }
        }
        let whole = lines.whole;
        Ok(Self { plan, done, pending: pending.into_iter().collect(), whole, path: path.to_owned() })
    }

    /// How many entries are done.
    pub fn done(&self) -> usize {
        self.done.len()
    }
}

/// The journal of a restore under way. What was noted is on disk soon after; a note never waits for the disk.
pub(super) struct Journal {
    notes: Option<mpsc::Sender<Done>>,
    writer: Option<JoinHandle<Result<()>>>,
    path: PathBuf,
}

impl Journal {
    /// Begins a journal with a plan, on disk when this returns. What was there before is replaced.
    pub(super) fn begin(plan: &Plan, path: &Path) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let partial = path.with_added_extension("part");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial);
        let file = plan.write_to(file.map_err(Error::io("create", &partial))?, &partial)?;
        std::fs::rename(&partial, path).map_err(Error::io("rename", &partial))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("write", folder))?;
        Ok(Self::writing(file, path))
    }

    /// Goes on with a journal behind its last whole line.
    pub(super) fn go_on(unfinished: &Unfinished) -> Result<Self> {
        let path = &unfinished.path;
        let mut file = OpenOptions::new().write(true).open(path).map_err(Error::io("open", path))?;
        file.set_len(unfinished.whole)
            .and_then(|()| file.seek(SeekFrom::End(0)).map(drop))
            .map_err(Error::io("write", path))?;
        Ok(Self::writing(file, path))
    }

    fn writing(file: File, path: &Path) -> Self {
        let (notes, receiver) = mpsc::channel();
        let owned = path.to_owned();
        let writer = std::thread::spawn(move || write_notes(file, &owned, &receiver));
        Self { notes: Some(notes), writer: Some(writer), path: path.to_owned() }
    }

    /// Notes what was done.
    pub(super) fn note(&self, done: Done) -> Result<()> {
        let sent = self.notes.as_ref().map(|notes| notes.send(done));
        match sent {
            Some(Ok(())) => Ok(()),
            // Why, the end of the journal says.
            _ => Err(Error::Refused(format!("the journal '{}' cannot be written", self.path.display()))),
        }
    }

    /// Waits until all notes are on disk.
    pub(super) fn close(&mut self) -> Result<()> {
        self.notes = None;
        match self.writer.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(Error::Lost("the journal")),
            None => Ok(()),
        }
    }

    /// Removes a journal that nobody needs any more.
    pub(super) fn remove(mut self) -> Result<()> {
        self.close()?;
        std::fs::remove_file(&self.path).map_err(Error::io("remove", &self.path))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(error = crate::chain(&error), "the journal is not complete");
        }
    }
}

/// Writes what there is, then makes it durable, and again: the slower the disk, the more notes share one sync.
fn write_notes(mut file: File, path: &Path, notes: &mpsc::Receiver<Done>) -> Result<()> {
    let mut lines = Vec::new();
    while let Ok(first) = notes.recv() {
        lines.clear();
        for note in std::iter::once(first).chain(notes.try_iter()) {
            serde_json::to_writer(&mut lines, &note).map_err(|error| Error::io("write", path)(error.into()))?;
            lines.push(b'\n');
        }
        file.write_all(&lines).and_then(|()| file.sync_data()).map_err(Error::io("write", path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lifeboat_model::ResourceType;
    use proptest::prelude::*;

    use super::super::plan::{Finding, Live, Mode, PatchSource, PlannedKind, Settings, Withheld};
    use super::*;

    fn kind(resource: &str, served: Option<&str>) -> PlannedKind {
        let resource = ResourceType {
            group: String::new(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            kind: resource.to_owned(),
            singular: String::new(),
            short_names: Vec::new(),
            namespaced: true,
        };
        PlannedKind { resource, served: served.map(str::to_owned), wave: 3, wave_name: "some".to_owned() }
    }

    fn verdicts() -> impl Strategy<Value = Verdict> {
        let live = || "[a-f0-9-]{0,36}".prop_map(|uid| Live { canonical: Digest::of(uid.as_bytes()), uid: uid.into() });
        let text = || "\\PC{0,20}".prop_map(String::into_boxed_str);
        prop_oneof![
            proptest::option::of(text()).prop_map(|objection| Verdict::Create { objection }),
            live().prop_map(|live| Verdict::Unchanged { live }),
            live().prop_map(|live| Verdict::Leave { live }),
            (live(), proptest::option::of(text())).prop_map(|(live, objection)| Verdict::Apply { live, objection }),
            live().prop_map(|live| Verdict::Recreate { live }),
            live().prop_map(|live| Verdict::Prune { live }),
            (any::<u32>(), text()).prop_map(|(rule, reason)| Verdict::Skipped { rule, reason }),
            text().prop_map(|reason| Verdict::Blocked { reason }),
        ]
    }

    fn entries() -> impl Strategy<Value = ReadEntry> {
        let place = (0_u32..2, proptest::option::of("[a-z]{1,5}"), "\\PC{1,10}", "[a-f0-9-]{0,36}");
        let source = proptest::option::of((any::<u64>(), 1..=u64::from(u32::MAX)));
        (place, source, any::<bool>(), verdicts()).prop_map(|((kind, namespace, name, uid), source, early, verdict)| {
            ReadEntry {
                kind,
                namespace,
                name,
                uid,
                source: source.map(|(offset, length)| Span { offset, length }),
                early,
                verdict,
            }
        })
    }

    fn plan(all: Vec<ReadEntry>) -> Plan {
        let mut entries = Entries::default();
        all.iter().for_each(|read| entries.push(read.entry()).unwrap());
        let patch = PatchSource { name: "fix.yaml".to_owned(), text: "patches: []\n".to_owned() };
        let settings = Settings {
            mode: Mode::Apply,
            namespaces: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            patches: vec![patch],
            ..Settings::default()
        };
        let header = Header {
            schema: SCHEMA.to_owned(),
            backup: "20261121T044500Z-k3f9qz".parse().unwrap(),
            manifest: Digest::of(b"manifest"),
            backup_cluster: "one".to_owned(),
            target_cluster: "two".to_owned(),
            rules: 1,
            settings,
            kinds: vec![kind("secrets", Some("v1")), kind("boats", None)],
            owners: BTreeMap::from([("old".to_owned(), "new".to_owned())]),
            volumes: None,
            withheld: vec![Withheld { resource: "events".to_owned(), objects: 3, rule: 9, reason: "why".to_owned() }],
            findings: vec![Finding { blocks: false, code: "quota".to_owned(), message: "what".to_owned() }],
        };
        Plan { header, entries }
    }

    fn entry(name: &str) -> ReadEntry {
        let verdict = Verdict::Create { objection: None };
        let (name, uid) = (name.to_owned(), "u".to_owned());
        ReadEntry { kind: 0, namespace: None, name, uid, source: None, early: false, verdict }
    }

    #[test]
    fn a_plan_is_never_written_over_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan");
        std::fs::write(&path, "precious").unwrap();
        plan(Vec::new()).save(&path).unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_plan_reads_back(entries in proptest::collection::vec(entries(), 0..6)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("plan");
            let plan = plan(entries);
            plan.save(&path).unwrap();
            let back = Plan::load(&path).unwrap();
            prop_assert_eq!(back.hash(), plan.hash());
            prop_assert_eq!(back, plan);
        }

        /// No altered plan is taken for one.
        #[test]
        fn a_plan_that_was_altered_is_none(
            entries in proptest::collection::vec(entries(), 1..4), at in any::<prop::sample::Index>(), bit in 0_u8..8,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("plan");
            let plan = plan(entries);
            plan.save(&path).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            std::fs::write(&path, &bytes).unwrap();
            // What reads back all the same, such as the hash in capitals, says the same.
            if let Ok(back) = Plan::load(&path) {
                prop_assert_eq!(back, plan);
            }
        }

        /// Wherever a crash cuts a journal off, what was noted before is known, and the journal goes on from there.
        #[test]
        fn a_journal_that_is_cut_off_goes_on(cut in any::<prop::sample::Index>(), count in 1_u32..8) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal");
            let plan = plan((0..9).map(|number| entry(&number.to_string())).collect());
            let note = |entry: u32| Done { entry, step: Step::Created, uid: entry.to_string().into() };
            let mut journal = Journal::begin(&plan, &path).unwrap();
            let begun = std::fs::metadata(&path).unwrap().len();
            for number in 0..count {
                journal.note(note(number)).unwrap();
            }
            journal.note(Done { entry: 0, step: Step::OwnersPending, uid: "".into() }).unwrap();
            journal.close().unwrap();
            let whole = std::fs::metadata(&path).unwrap().len();
            let cut = begun + cut.index(usize::try_from(whole - begun).unwrap() + 1) as u64;
            File::options().write(true).open(&path).unwrap().set_len(cut).unwrap();

            let unfinished = Unfinished::read(&path).unwrap();
            let known = u32::try_from(unfinished.done()).unwrap();
            prop_assert!(known <= count);
            prop_assert!((0..known).all(|number| unfinished.done.get(&number) == Some(&note(number))));
            prop_assert_eq!(unfinished.pending.len(), usize::from(cut == whole));
            let mut journal = Journal::go_on(&unfinished).unwrap();
            journal.note(note(8)).unwrap();
            journal.close().unwrap();
            let again = Unfinished::read(&path).unwrap();
            prop_assert_eq!(again.done(), unfinished.done() + 1);
            prop_assert_eq!(again.plan, plan);
        }
    }
}
