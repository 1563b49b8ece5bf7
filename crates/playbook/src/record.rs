//! The record of a run, made of its journal and of nothing else.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lifeboat_model::Digest;
use serde::Serialize;
use serde_json::Value;

use crate::journal::{self, Entry, InverseRecord, JournalError, Line, WriteOutcome};
use crate::{Identity, ObjectRef, Outcome, Plan, Proof, RunId, Sources, StepPlan};

/// A run, as its journal has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRecord {
    /// The run.
    pub run: RunId,
    /// The playbook.
    pub playbook: String,
    /// What was shown.
    pub plan: Plan,
    /// The texts that it is made of.
    pub sources: Sources,
    /// When it began.
    pub began: Timestamp,
    /// When it ended; absent while it runs, or after a kill.
    pub ended: Option<Timestamp>,
    /// As its worst step; absent while it runs, or after a kill.
    pub outcome: Option<Outcome>,
    /// Who agreed, and to what.
    pub approvals: Vec<Approval>,
    /// Why it was denied as a whole, if it was.
    pub refused: Option<String>,
    /// When it was cancelled.
    pub cancelled: Option<Timestamp>,
    /// When it went on after a kill, and by whom.
    pub resumed: Vec<Moment>,
    /// The steps, in the order in which they began.
    pub steps: Vec<StepRecord>,
    /// When somebody began to take it back, and who.
    pub rollback: Option<Rollback>,
    /// Where the step of a key is in `steps`.
    #[serde(skip)]
    places: BTreeMap<String, usize>,
}

/// Who did something, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: Identity,
}

/// Who agreed to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// When there were enough.
    pub at: Timestamp,
    /// The hash.
    pub hash: Digest,
    /// Who.
    pub by: Vec<Identity>,
}

/// A run that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    /// When it was begun last.
    pub began: Timestamp,
    /// Who began it.
    pub by: Identity,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// As its worst write.
    pub outcome: Option<Outcome>,
}

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepRecord {
    /// Its key.
    pub step: String,
    /// The action.
    pub uses: String,
    /// When it was begun first.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How often it was tried.
    pub attempts: u32,
    /// What stood under its `with`.
    pub inputs: Option<Value>,
    /// What it gave.
    pub outputs: Option<Value>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why.
    pub message: Option<String>,
    /// What was observed.
    pub proof: Option<Proof>,
    /// Its writes, in order.
    pub writes: Vec<WriteRecord>,
    /// The plan, where it could be made only when the step was reached.
    #[serde(skip)]
    pub(crate) planned: Option<StepPlan>,
    /// Whether all of its writes are made.
    #[serde(skip)]
    pub(crate) applied: bool,
}

/// A write of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WriteRecord {
    /// The planned change.
    pub change: String,
    /// To what.
    pub object: ObjectRef,
    /// When it was about to be made.
    pub at: Timestamp,
    /// Its place in the journal.
    pub seq: u64,
    /// What undoes it.
    #[serde(skip)]
    pub inverse: InverseRecord,
    /// Why it cannot be undone, if it cannot.
    pub irreversible: Option<String>,
    /// Whether it was done; absent after a kill in the middle of it.
    pub outcome: Option<WriteOutcome>,
    /// What became of it in a rollback.
    pub undone: Option<UndoRecord>,
}

/// A write that was taken back, or could not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UndoRecord {
    /// When.
    pub at: Timestamp,
    /// Whether it was.
    pub outcome: Outcome,
    /// What was observed, or what went wrong.
    pub message: String,
}

/// A journal that was read and held to its chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// The run.
    pub record: RunRecord,
    /// Its lines.
    pub lines: Vec<Line>,
    /// The digest of the last one: who has kept it elsewhere knows that no line was cut off or written anew.
    pub head: Digest,
    /// Bytes of a last line that was not written to its end, as after a kill.
    pub torn: u64,
}

/// Reads a journal, and holds every line to the one before.
///
/// # Errors
/// With the first line that was altered.
pub fn verify(bytes: &[u8]) -> Result<Verified, JournalError> {
    let chain = journal::read(bytes)?;
    let record = RunRecord::of(&chain.lines)?;
    Ok(Verified { record, head: chain.head.digest, lines: chain.lines, torn: chain.torn })
}

impl RunRecord {
    /// The run that these lines tell of.
    pub(crate) fn of(lines: &[Line]) -> Result<Self, JournalError> {
        let (first, rest) = lines.split_first().ok_or_else(|| senseless("it is empty"))?;
        let mut record = Self::begin(first)?;
        rest.iter().try_for_each(|line| record.note(line))?;
        Ok(record)
    }

    /// A run of which there is the first line only.
    ///
    /// # Errors
    /// When the line does not begin a run.
    pub fn begin(line: &Line) -> Result<Self, JournalError> {
        let Entry::Began { format, sources, plan } = &line.entry else {
            return Err(senseless("the first line does not begin a run"));
        };
        if *format != journal::FORMAT {
            return Err(senseless(&format!("its form has version {format}, and {} is known", journal::FORMAT)));
        }
        Ok(Self {
            run: plan.run.clone(),
            playbook: plan.playbook.clone(),
            plan: plan.as_ref().clone(),
            sources: sources.clone(),
            began: line.at,
            ended: None,
            outcome: None,
            approvals: Vec::new(),
            refused: None,
            cancelled: None,
            resumed: Vec::new(),
            steps: Vec::new(),
            rollback: None,
            places: BTreeMap::new(),
        })
    }

    /// The step of this key.
    pub fn step(&self, key: &str) -> Option<&StepRecord> {
        self.steps.get(*self.places.get(key)?)
    }

    /// Adds what a line says.
    ///
    /// # Errors
    /// When it cannot follow what was noted before.
    pub fn note(&mut self, line: &Line) -> Result<(), JournalError> {
        let at = line.at;
        match &line.entry {
            // The record was made from it.
            Entry::Began { .. } if line.seq == 0 => self.began = at,
            Entry::Began { .. } => return Err(senseless("a run begins twice")),
            Entry::Approved { hash, by } => self.approvals.push(Approval { at, hash: *hash, by: by.clone() }),
            Entry::Refused { reason } => self.refused = Some(reason.clone()),
            Entry::Cancelled => self.cancelled = Some(at),
            Entry::Resumed { by } => self.resumed.push(Moment { at, by: by.clone() }),
            Entry::Ended { outcome } => (self.ended, self.outcome) = (Some(at), Some(*outcome)),
            Entry::RollbackBegan { by } => {
                self.rollback = Some(Rollback { began: at, by: by.clone(), ended: None, outcome: None });
            }
            Entry::RollbackEnded { outcome } => {
                let rollback = self.rollback.as_mut().ok_or_else(|| senseless("a rollback ends that never began"))?;
                (rollback.ended, rollback.outcome) = (Some(at), Some(*outcome));
            }
            entry => self.note_step(line, entry)?,
        }
        Ok(())
    }

    fn note_step(&mut self, line: &Line, entry: &Entry) -> Result<(), JournalError> {
        let at = line.at;
        match entry {
            Entry::Planned { step, plan } => self.entered(step, "", at).planned = Some(plan.as_ref().clone()),
            Entry::StepBegan { step, uses, attempt, inputs } => {
                let step = self.entered(step, uses, at);
                (step.attempts, step.inputs) = (*attempt, Some(inputs.clone()));
            }
            Entry::Writing { step, write, change, object, inverse } => {
                let step = self.known(step)?;
                if step.writes.len() != *write as usize {
                    return Err(senseless("a write has another number"));
                }
                let irreversible = match inverse {
                    InverseRecord::By(_) => None,
                    InverseRecord::None(reason) => Some(reason.clone()),
                };
                step.writes.push(WriteRecord {
                    change: change.clone(),
                    object: object.clone(),
                    at,
                    seq: line.seq,
                    inverse: inverse.clone(),
                    irreversible,
                    outcome: None,
                    undone: None,
                });
            }
            Entry::Wrote { step, write, outcome, .. } => self.write(step, *write)?.outcome = Some(*outcome),
            Entry::Applied { step, outputs } => {
                let step = self.known(step)?;
                (step.applied, step.outputs) = (true, Some(outputs.clone()));
            }
            Entry::StepEnded { step, uses, outcome, message, proof, outputs } => {
                let step = self.entered(step, uses, at);
                (step.ended, step.outcome, step.message) = (Some(at), Some(*outcome), message.clone());
                step.proof.clone_from(proof);
                if outputs.is_some() {
                    step.outputs.clone_from(outputs);
                }
            }
            Entry::Undoing { step, write } => drop(self.write(step, *write)?),
            Entry::Undone { step, write, outcome, message } => {
                self.write(step, *write)?.undone = Some(UndoRecord { at, outcome: *outcome, message: message.clone() });
            }
            _ => {}
        }
        Ok(())
    }

    fn entered(&mut self, key: &str, uses: &str, at: Timestamp) -> &mut StepRecord {
        let place = *self.places.entry(key.to_owned()).or_insert_with(|| {
            self.steps.push(StepRecord {
                step: key.to_owned(),
                uses: String::new(),
                began: at,
                ended: None,
                attempts: 0,
                inputs: None,
                outputs: None,
                outcome: None,
                message: None,
                proof: None,
                writes: Vec::new(),
                planned: None,
                applied: false,
            });
            self.steps.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "places holds places of this list only")]
        let step = &mut self.steps[place];
        if step.uses.is_empty() {
            uses.clone_into(&mut step.uses);
        }
        step
    }

    fn known(&mut self, key: &str) -> Result<&mut StepRecord, JournalError> {
        let place = self.places.get(key).copied();
        place.and_then(|place| self.steps.get_mut(place)).ok_or_else(|| senseless("a step goes on that never began"))
    }

    fn write(&mut self, step: &str, number: u32) -> Result<&mut WriteRecord, JournalError> {
        let write = self.known(step)?.writes.get_mut(number as usize);
        write.ok_or_else(|| senseless("a write ends that never began"))
    }
}

fn senseless(why: &str) -> JournalError {
    JournalError::Senseless(why.to_owned())
}
