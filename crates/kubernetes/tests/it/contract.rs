//! What is promised of writes, whatever the line and the others do: a server that keeps one object, faults at any
//! request, and somebody else who writes the object at any time.

use std::sync::{Arc, Mutex};

use lifeboat_kubernetes::{Deletion, Error};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fake::{Asked, Fake, QUICK, Reply};
use crate::objects::{MANAGER, config_map, create_config_map, delete_options, path, replace_config_map};

/// What happens to a request.
#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    Throttled,
    /// The request is lost, or the server fails before it does anything.
    Lost,
    Failed,
    /// The request is done, and its answer is lost, or is a failure.
    AnswerLost,
    AnswerCut,
    DoneAndFailed,
}

/// What somebody else does before a request is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Other {
    Nothing,
    Creates,
    Annotates,
    Deletes,
}

/// What becomes of the first requests; all further ones go well.
#[derive(Debug, Clone)]
struct Script(Vec<(Fault, Other)>);

fn scripts() -> impl Strategy<Value = Script> {
    let faults = prop_oneof![
        Just(Fault::None),
        Just(Fault::Throttled),
        Just(Fault::Lost),
        Just(Fault::Failed),
        Just(Fault::AnswerLost),
        Just(Fault::AnswerCut),
        Just(Fault::DoneAndFailed),
    ];
    let others = prop_oneof![
        6 => Just(Other::Nothing),
        1 => Just(Other::Creates),
        1 => Just(Other::Annotates),
        1 => Just(Other::Deletes),
    ];
    proptest::collection::vec((faults, others), 0..7).prop_map(Script)
}

/// The time that the fake server's answers bear.
const NOW: &str = "1994-11-15T08:12:31Z";

/// A server's only object, and what was done to it.
#[derive(Debug, Default)]
struct Model {
    object: Option<Value>,
    /// Counts versions and UIDs.
    count: u64,
    /// How often a request of ours was done.
    done: usize,
    /// What the others did that had an effect.
    others: Vec<Other>,
}

impl Model {
    fn next(&mut self) -> String {
        self.count += 1;
        self.count.to_string()
    }

    fn store(&mut self, mut object: Value, manager: &str) {
        let (uid, version) = (self.next(), self.next());
        let kept = self.object.as_ref().map(|object| object["metadata"]["uid"].clone());
        object["metadata"]["uid"] = kept.unwrap_or_else(|| uid.into());
        object["metadata"]["resourceVersion"] = version.into();
        object["metadata"]["creationTimestamp"] = NOW.into();
        let mut entries: Vec<Value> =
            serde_json::from_value(object["metadata"]["managedFields"].take()).unwrap_or_default();
        entries.retain(|entry| entry["manager"] != manager);
        entries.push(json!({"manager": manager, "operation": "Update", "time": NOW}));
        object["metadata"]["managedFields"] = entries.into();
        self.object = Some(object);
    }

    fn other(&mut self, other: Other) {
        match (other, &self.object) {
            (Other::Creates, None) => self.store(config_map("a", "theirs"), "other"),
            (Other::Annotates, Some(object)) => {
                let mut object = object.clone();
                object["metadata"]["annotations"] = json!({"note": "theirs"});
                self.store(object, "other");
            }
            (Other::Deletes, Some(_)) => self.object = None,
            _ => return,
        }
        self.others.push(other);
    }

    /// Does what a request asks for, as the API server would.
    fn serve(&mut self, asked: &Asked) -> Reply {
        let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        match (asked.method.as_str(), &self.object) {
            ("POST", Some(_)) => return Reply::status(409, "AlreadyExists", "configmaps already exists"),
            ("POST", None) => self.store(body, MANAGER),
            (_, None) => {
                let details = json!({"name": "a", "kind": "configmaps"});
                let status = json!({"kind": "Status", "reason": "NotFound", "details": details});
                return Reply::Full(404, "", status.to_string());
            }
            ("GET", Some(object)) => return Reply::ok(object.to_string()),
            ("PUT", Some(object)) if body["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] => {
                return Reply::status(409, "Conflict", "the object has been modified");
            }
            ("PUT", Some(_)) => self.store(body, MANAGER),
            (_, Some(object)) if body["preconditions"]["uid"] != object["metadata"]["uid"] => {
                return Reply::status(409, "Conflict", "the UID in the precondition does not match");
            }
            _ => self.object = None,
        }
        self.done += 1;
        let object = self.object.clone().unwrap_or_else(|| json!({"kind": "Status", "status": "Success"}));
        Reply::ok(object.to_string())
    }

    fn text(&self) -> Option<&str> {
        self.object.as_ref()?["data"]["text"].as_str()
    }
}

/// Runs one write against the model, and gives the model as it is then.
fn run<T>(script: Script, model: Model, write: impl AsyncFnOnce(&Fake, Value) -> T) -> (T, Model) {
    let object = model.object.clone().unwrap_or_default();
    let model = Arc::new(Mutex::new(model));
    let shared = Arc::clone(&model);
    let mut script = script.0.into_iter();
    let answer = move |asked: &Asked| {
        let mut model = shared.lock().unwrap();
        let (fault, other) = script.next().unwrap_or((Fault::None, Other::Nothing));
        model.other(other);
        match fault {
            Fault::None => model.serve(asked),
            Fault::Throttled => Reply::status(429, "TooManyRequests", "later"),
            Fault::Lost => Reply::HangUp,
            Fault::Failed => Reply::status(503, "ServiceUnavailable", "not now"),
            Fault::AnswerLost => {
                model.serve(asked);
                Reply::HangUp
            }
            Fault::AnswerCut => match model.serve(asked) {
                Reply::Full(200, _, body) => Reply::Cut(body),
                reply => reply,
            },
            Fault::DoneAndFailed => {
                model.serve(asked);
                Reply::status(504, "Timeout", "request did not complete")
            }
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(async {
        let fake = Fake::start_model(QUICK, answer).await;
        write(&fake, object).await
    });
    drop(runtime);
    (result, Arc::try_unwrap(model).expect("the server has ended").into_inner().unwrap())
}

fn existing() -> Model {
    let mut model = Model::default();
    model.store(config_map("a", "theirs"), "other");
    model
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_creation_is_told_as_what_it_was(script in scripts(), exists in any::<bool>()) {
        let model = if exists { existing() } else { Model::default() };
        let (result, model) = run(script, model, async |fake, _| create_config_map(&fake.cluster, "a", "ours").await);
        let deletions = model.others.iter().filter(|other| **other == Other::Deletes).count();
        prop_assert!(model.done <= 1 + deletions, "done again only where somebody deleted it: {model:?}");
        match result {
            Ok(_) => prop_assert!(model.done >= 1, "{model:?}"),
            Err(Error::AlreadyExists { .. }) => {
                prop_assert!(exists || model.others.contains(&Other::Creates), "there was another: {model:?}");
            }
            Err(error) => prop_assert!(false, "{error:?} {model:?}"),
        }
    }

    #[test]
    fn a_replacement_is_never_put_on_top_of_a_change(script in scripts()) {
        let write = async |fake: &Fake, object: Value| replace_config_map(&fake.cluster, &object, "ours").await;
        let (result, model) = run(script, existing(), write);
        prop_assert!(model.done <= 1, "{model:?}");
        let gone = model.others.contains(&Other::Deletes);
        match result {
            Ok(_) => {
                prop_assert_eq!(model.done, 1);
                prop_assert!(gone || model.text() == Some("ours"), "{model:?}");
            }
            Err(Error::Conflict { .. }) => {
                prop_assert!(!model.others.is_empty(), "there was a change: {model:?}");
                prop_assert!(gone || model.done == 0, "{model:?}");
            }
            Err(Error::NotFound { .. }) => prop_assert!(gone, "{model:?}"),
            Err(error) => prop_assert!(false, "{error:?} {model:?}"),
        }
    }

    #[test]
    fn a_deletion_meets_the_object_that_was_meant(script in scripts()) {
        let write = async |fake: &Fake, object: Value| {
            let maps = crate::objects::config_maps();
            let uid = object["metadata"]["uid"].as_str().unwrap();
            fake.cluster.delete(path(&maps, "default", "a"), delete_options(uid)).await
        };
        let first = existing();
        let uid = first.object.as_ref().unwrap()["metadata"]["uid"].clone();
        let (result, model) = run(script, first, write);
        prop_assert!(model.done <= 1, "{model:?}");
        let stands = model.object.as_ref().is_some_and(|object| object["metadata"]["uid"] == uid);
        prop_assert!(!stands, "whatever is told, that one is gone: {model:?}");
        match result {
            Ok(deletion) => prop_assert_eq!(deletion, Deletion::Gone),
            Err(Error::NotFound { .. } | Error::Conflict { .. }) => {
                prop_assert!(model.others.contains(&Other::Deletes) && model.done == 0, "{model:?}");
            }
            Err(error) => prop_assert!(false, "{error:?} {model:?}"),
        }
    }
}
