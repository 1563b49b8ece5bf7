//! A world that playbooks write to, journals in memory that kill, and actions that go wrong as they are told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Notify;

use crate::journal::read;
use crate::*;

/// What is written to, and everything that was written, in order.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) objects: BTreeMap<String, i64>,
    /// Step, change, and whether it was taken back.
    pub(crate) log: Vec<(String, String, bool)>,
    /// How often a step was tried, for failures that pass.
    tries: BTreeMap<String, u32>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) journals: Memory,
}

/// How the journal's next lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kill {
    /// After so many lines, with so much of the next one written, in thousandths.
    After { lines: usize, of_next: usize },
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    pub(crate) files: Arc<Mutex<BTreeMap<RunId, Vec<u8>>>>,
    pub(crate) kill: Arc<Mutex<Option<Kill>>>,
    lines: Arc<Mutex<usize>>,
    /// Is told when the process should be dead.
    pub(crate) killed: Arc<Notify>,
    claims: Arc<Mutex<BTreeMap<String, RunId>>>,
}

impl Memory {
    pub(crate) fn bytes(&self, run: &RunId) -> Vec<u8> {
        self.files.lock().unwrap()[run].clone()
    }

    pub(crate) fn only(&self) -> Option<RunId> {
        self.files.lock().unwrap().keys().next().cloned()
    }

    /// A new process: nothing is held, and nothing kills unless told.
    pub(crate) fn restart(&mut self, kill: Option<Kill>) {
        self.kill = Arc::new(Mutex::new(kill));
        self.lines = Arc::default();
        self.killed = Arc::default();
        self.claims = Arc::default();
    }

    fn file(&self, run: &RunId) -> Box<dyn JournalFile> {
        Box::new(MemoryFile { run: run.clone(), memory: self.clone() })
    }
}

struct MemoryFile {
    run: RunId,
    memory: Memory,
}

#[async_trait]
impl JournalFile for MemoryFile {
    async fn append(&mut self, line: Vec<u8>) -> Result<(), StorageError> {
        tokio::task::yield_now().await;
        let number = {
            let mut lines = self.memory.lines.lock().unwrap();
            *lines += 1;
            *lines - 1
        };
        let kill = *self.memory.kill.lock().unwrap();
        if let Some(Kill::After { lines, of_next }) = kill
            && number >= lines
        {
            let part = if number == lines { line.len() * of_next / 1000 } else { 0 };
            self.memory.files.lock().unwrap().get_mut(&self.run).unwrap().extend_from_slice(&line[..part]);
            self.memory.killed.notify_one();
            std::future::pending::<()>().await;
        }
        self.memory.files.lock().unwrap().get_mut(&self.run).unwrap().extend_from_slice(&line);
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn cut(&mut self, length: u64) -> Result<(), StorageError> {
        self.memory.files.lock().unwrap().get_mut(&self.run).unwrap().truncate(usize::try_from(length).unwrap());
        Ok(())
    }
}

#[async_trait]
impl Journals for Memory {
    async fn create(&self, run: &RunId) -> Result<Box<dyn JournalFile>, StorageError> {
        self.files.lock().unwrap().insert(run.clone(), Vec::new());
        Ok(self.file(run))
    }

    async fn open(&self, run: &RunId) -> Result<(Box<dyn JournalFile>, Vec<u8>), StorageError> {
        let bytes = self.files.lock().unwrap().get(run).cloned();
        Ok((self.file(run), bytes.ok_or_else(|| StorageError::NotFound(run.clone()))?))
    }

    async fn read(&self, run: &RunId) -> Result<Stored, StorageError> {
        Ok(Stored { bytes: self.bytes(run), held: false })
    }

    async fn claim(&self, key: &str, run: &RunId) -> Result<Claim, StorageError> {
        let mut claims = self.claims.lock().unwrap();
        if let Some(holder) = claims.get(key) {
            Ok(Claim::Held(holder.clone()))
        } else {
            claims.insert(key.to_owned(), run.clone());
            Ok(Claim::Taken(Box::new(())))
        }
    }

    async fn list(&self) -> Result<Vec<RunId>, StorageError> {
        Ok(self.files.lock().unwrap().keys().cloned().collect())
    }
}

/// A clock that goes on by a second whenever it is looked at.
#[derive(Debug, Default)]
pub(crate) struct Ticks(pub(crate) AtomicU64);

impl Clock for Ticks {
    fn now(&self) -> Timestamp {
        let seconds = self.0.fetch_add(1, Ordering::Relaxed);
        "2026-11-21T12:00:00Z".parse::<Timestamp>().unwrap()
            + SignedDuration::from_secs(i64::try_from(seconds).unwrap())
    }

    fn random(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) * 7919
    }
}

/// People who say yes, no or nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct People {
    pub(crate) votes: Arc<Mutex<Vec<(&'static str, bool)>>>,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Approver for People {
    async fn vote(&self, request: &ApprovalRequest) -> Result<Vote, ActionError> {
        self.asked.lock().unwrap().push(request.text.clone());
        let vote = {
            let mut votes = self.votes.lock().unwrap();
            if votes.is_empty() { None } else { Some(votes.remove(0)) }
        };
        match vote {
            Some((by, approve)) => Ok(Vote { by: Identity(by.to_owned()), hash: request.hash, approve }),
            None => std::future::pending().await,
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Fault {
    #[default]
    None,
    /// Before the last write, once; then it works.
    Passes,
    /// Before the last write, always.
    Stays,
    /// The last write is done, and nobody is told.
    Uncertain,
    /// The last write is refused.
    Refused,
    /// The plan is refused.
    Plan,
    /// Nothing is observed.
    Unproved,
    /// An observation that says nothing.
    Empty,
    /// Looking goes wrong.
    Blind,
    /// It never ends, before the last write.
    Hangs,
}

/// What a step of the model does.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// The object.
    pub(crate) object: String,
    /// Its value.
    pub(crate) value: i64,
    /// Over how many writes, each of an object of its own.
    #[serde(default)]
    pub(crate) writes: u32,
    /// What goes wrong.
    #[serde(default)]
    pub(crate) fault: Fault,
    /// Read by nothing.
    #[serde(default)]
    pub(crate) after: Option<i64>,
    /// The namespace that it says to act in.
    #[serde(default)]
    pub(crate) namespace: Option<String>,
}

/// What it gives.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// The value that was written.
    pub(crate) value: i64,
    /// A list, for `forEach`.
    pub(crate) list: Vec<i64>,
    /// Whether it is so.
    pub(crate) ready: bool,
}

/// Takes back one write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Back {
    object: String,
    old: Option<i64>,
}

/// An action that writes to the world; by its name it may be repeated, or not, or writes nothing.
pub(crate) struct Model {
    pub(crate) world: World,
    pub(crate) name: &'static str,
    pub(crate) repeat: Repeat,
}

impl Model {
    fn names(inputs: &Inputs) -> Vec<String> {
        (0..inputs.writes).map(|number| format!("{}-{number}", inputs.object)).collect()
    }

    /// What the promise is: the inverse of this write is durable, with the value that is there before it is made.
    fn is_journalled(&self, context: &StepContext, change: &str, back: &Back) {
        let lines = read(&self.world.journals.bytes(context.run())).unwrap().lines;
        let found = lines.iter().any(|line| match &line.entry {
            Entry::Writing { step, change: noted, inverse: InverseRecord::By(inverse), .. } => {
                step == context.step() && noted == change && inverse["object"] == back.object.as_str()
            }
            _ => false,
        });
        assert!(found, "{} writes {change} without its inverse in the journal", context.step());
    }

    fn tries(&self, context: &StepContext) -> u32 {
        let mut state = self.world.state.lock().unwrap();
        let tries = state.tries.entry(context.step().to_owned()).or_default();
        *tries += 1;
        *tries
    }
}

#[async_trait]
impl Action for Model {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = Back;

    fn statement(&self) -> Statement {
        Statement {
            name: self.name,
            summary: "Write to a world",
            description: "For tests.",
            permissions: &[],
            attack: &[],
            defend: &[],
            undo: Undo::Yes,
            repeat: self.repeat,
            example: "- {id: a, uses: set, with: {object: a, value: 1}}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        tokio::task::yield_now().await;
        if inputs.fault == Fault::Plan {
            return Err(ActionError::denied("the plan is refused"));
        }
        let object = |name: &String| ObjectRef {
            kind: "Thing".to_owned(),
            name: name.clone(),
            namespace: inputs.namespace.clone(),
            ..ObjectRef::default()
        };
        let names = Self::names(inputs);
        let change =
            |name: &String| Change::new(name, "set", object(name), &json!(null), &json!({"value": inputs.value}));
        let outputs = (inputs.writes == 0).then(|| Outputs { value: inputs.value, list: vec![1, 2], ready: true });
        Ok(StepPlan {
            changes: names.iter().map(change).collect(),
            targets: names.iter().map(object).collect(),
            outputs,
            ..StepPlan::default()
        })
    }

    async fn apply(
        &self,
        inputs: &Inputs,
        _: &StepPlan<Outputs>,
        writes: &mut Writes<'_, Back>,
        context: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let tries = self.tries(context);
        let names = Self::names(inputs);
        for (number, name) in names.iter().enumerate() {
            let is_last = number + 1 == names.len();
            tokio::task::yield_now().await;
            match inputs.fault {
                Fault::Passes if is_last && tries == 1 => return Err(ActionError::transient("it passes")),
                Fault::Stays if is_last => return Err(ActionError::transient("it stays")),
                Fault::Hangs if is_last => std::future::pending::<()>().await,
                _ => {}
            }
            let old = self.world.state.lock().unwrap().objects.get(name).copied();
            let back = Back { object: name.clone(), old };
            let (noted, world, step) = (back.clone(), self.world.clone(), context.step().to_owned());
            writes
                .write(name, Inverse::By(back), |permit| async move {
                    assert!(permit.id().ends_with(name.as_str()));
                    self.is_journalled(context, name, &noted);
                    tokio::task::yield_now().await;
                    if inputs.fault == Fault::Refused && is_last {
                        return Err(ActionError::denied("the write is refused"));
                    }
                    world.set(step, name, inputs.value, self.repeat);
                    tokio::task::yield_now().await;
                    if inputs.fault == Fault::Uncertain && is_last {
                        return Err(ActionError::uncertain("nobody was told"));
                    }
                    Ok(())
                })
                .await?;
        }
        Ok(Outputs { value: inputs.value, list: vec![1, 2], ready: tries > 2 })
    }

    async fn prove(&self, inputs: &Inputs, outputs: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        tokio::task::yield_now().await;
        let state = self.world.state.lock().unwrap();
        let seen = Self::names(inputs).iter().all(|name| state.objects.get(name) == Some(&outputs.value));
        match inputs.fault {
            Fault::Unproved => Ok(Proof::NotObserved("nothing is observed".to_owned())),
            Fault::Empty => Ok(Proof::Observed(" ".to_owned())),
            Fault::Blind => Err(ActionError::transient("it cannot look")),
            _ if seen => Ok(Proof::Observed(format!("value {}", outputs.value))),
            _ => Ok(Proof::NotObserved("another value is there".to_owned())),
        }
    }

    async fn undo(&self, back: Back, _: &Permit, context: &StepContext) -> Result<Proof, ActionError> {
        tokio::task::yield_now().await;
        let mut state = self.world.state.lock().unwrap();
        match back.old {
            Some(old) => drop(state.objects.insert(back.object.clone(), old)),
            None => drop(state.objects.remove(&back.object)),
        }
        state.log.push((context.step().to_owned(), back.object.clone(), true));
        Ok(Proof::Observed(format!("{} is as it was", back.object)))
    }
}

impl World {
    fn set(&self, step: String, name: &str, value: i64, repeat: Repeat) {
        let mut state = self.state.lock().unwrap();
        // The same write again does nothing more, as a server with a precondition has it.
        if state.objects.insert(name.to_owned(), value) != Some(value) || repeat == Repeat::Never {
            state.log.push((step, name.to_owned(), false));
        }
    }

    pub(crate) fn engine(&self, people: &People) -> Engine {
        let mut registry = Registry::new();
        add_builtin(&mut registry).unwrap();
        for (name, repeat) in [("set", Repeat::Safe), ("set.once", Repeat::Never)] {
            registry.add(Model { world: self.clone(), name, repeat }).unwrap();
        }
        Engine {
            registry: Arc::new(registry),
            journals: Arc::new(self.journals.clone()),
            clock: Arc::new(Ticks::default()),
            approver: Arc::new(people.clone()),
            own_namespace: Some("lifeboat".to_owned()),
        }
    }
}
