//! `evidence.live`.

mod script;

use std::time::Duration;

use async_trait::async_trait;
use lifeboat_kubernetes::{ExecEnd, ExecOptions, Executed};
use lifeboat_playbook::{
    Action, ActionError, Change, Inverse, NoInverse, Period, Permission, Permit, Proof, Repeat, Statement, StepContext,
    StepPlan, Undo, Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::script::{Look, Seen};
use super::objects::clocks;
use super::{EvidenceFolder, Outputs, prove, save};
use crate::PATIENCE;
use crate::api::{Api, Connection};
use crate::container::{free_name, plan_container, state};
use crate::fields::{has_ended, is_mirror, items, text};
use crate::planning::review;
use crate::resources::POD;
use crate::target::Target;

/// The most of each item, unless it is said.
const ITEM_BYTES: u32 = 1024 * 1024;
/// The most of an ephemeral container's log. The kubelet begins a new one after 10 MiB, unless it is told otherwise, and
/// a log that has no beginning is told as one with gaps.
const LOG_BYTES: u32 = 32 * 1024 * 1024;
const RUN: &str = "what a program does in a container is not taken back";

/// The action `evidence.live`.
#[derive(Debug)]
pub(crate) struct Live {
    connection: Connection,
    folder: EvidenceFolder,
}

impl Live {
    pub(crate) fn new(connection: Connection, folder: EvidenceFolder) -> Self {
        Self { connection, folder }
    }
}

fn item_bytes() -> u32 {
    ITEM_BYTES
}

/// Of what, and in which of the two ways.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// A pod, as `target.resolve` gives it.
    target: Target,
    /// The container that is looked at; without it, the pod's first.
    #[serde(default)]
    container: Option<String>,
    /// Look from an ephemeral container of this image, which has `sh`, `head`, `base64` and what else `BusyBox` has. It
    /// stays in the pod until the pod is gone.
    #[serde(default)]
    image: Option<String>,
    /// Files to read and folders to list in the container, from their roots. With `image` only.
    #[serde(default)]
    #[schemars(length(max = 64))]
    paths: Vec<String>,
    /// Give the ephemeral container the capability `SYS_PTRACE`, without which processes of other users can be listed,
    /// but neither their programs nor their files be seen.
    #[serde(default)]
    ptrace: bool,
    /// Run this program with these arguments in the container itself, instead of `image`. No shell reads them.
    #[serde(default)]
    #[schemars(length(max = 64))]
    command: Vec<String>,
    /// The most that is kept of each item, in bytes, from its beginning.
    #[serde(default = "item_bytes")]
    #[schemars(range(min = 1, max = 4_194_304))]
    max_bytes: u32,
    /// How long the container or the program is waited for; without it, 2 minutes.
    #[serde(default)]
    within: Option<Period>,
}

/// How it is looked.
enum Way<'a> {
    From(&'a str),
    By(&'a [String]),
}

impl Inputs {
    fn way(&self) -> Result<Way<'_>, ActionError> {
        match (&self.image, self.command.is_empty()) {
            (Some(image), true) => Ok(Way::From(image)),
            (None, false) if self.paths.is_empty() && !self.ptrace => Ok(Way::By(&self.command)),
            (None, false) => Err(ActionError::denied("paths and ptrace go with an image, not with a command")),
            (Some(_), false) => Err(ActionError::denied("an image and a command are two ways: give one of them")),
            (None, true) => Err(ActionError::denied("nothing says how to look: give an image or a command")),
        }
    }

    fn within(&self) -> Duration {
        self.within.map_or(PATIENCE, Period::duration)
    }

    /// The container that is looked at.
    fn container<'a>(&'a self, pod: &'a Value) -> Result<&'a str, ActionError> {
        let mut containers = items(pod, "/spec/containers").map(|container| text(container, "/name"));
        let found = match &self.container {
            Some(wanted) => containers.find(|name| name == wanted),
            None => containers.next(),
        };
        found.ok_or_else(|| {
            let wanted = self.container.as_deref().unwrap_or_default();
            ActionError::denied(format!("{} has no container '{wanted}'", self.target))
        })
    }

    fn look<'a>(&'a self, image: &'a str, beside: &'a str) -> Look<'a> {
        Look { image, beside, paths: &self.paths, ptrace: self.ptrace, limit: self.max_bytes }
    }
}

const LOOKING: &[Permission] = &[
    Permission { group: "", resource: "pods", verbs: &["get", "list", "watch"] },
    Permission { group: "", resource: "pods/ephemeralcontainers", verbs: &["patch"] },
    Permission { group: "", resource: "pods/log", verbs: &["get"] },
];
const RUNNING: &[Permission] = &[
    Permission { group: "", resource: "pods", verbs: &["get"] },
    Permission { group: "", resource: "pods/exec", verbs: &["get", "create"] },
];
const PERMISSIONS: &[Permission] = &[
    Permission { group: "", resource: "pods", verbs: &["get", "list", "watch"] },
    Permission { group: "", resource: "pods/ephemeralcontainers", verbs: &["patch"] },
    Permission { group: "", resource: "pods/log", verbs: &["get"] },
    Permission { group: "", resource: "pods/exec", verbs: &["get", "create"] },
];

const DESCRIPTION: &str = "\
Looks into a running pod, in one of two ways, and saves what is seen with its SHA-256.

With `image`, an ephemeral container is added that shares the process namespace of one container. It runs a fixed \
script, which tells in its log: of each process its command line, program, folder, status, open files and memory maps; \
the pod's sockets; the mounts; and the files and folders of `paths`. Environments are not read, as they often hold \
secrets. No right to `exec` is needed. An ephemeral container cannot be taken out again. Where the kubelet does not \
start it in time, the step is `failed`.

With `command`, a program of the container itself is run by `exec`, and its two outputs are kept. Nothing is added to \
the pod, but the program is one that an attacker may have replaced. The API server knows pods of `exec` by their names \
only: the UID is looked at just before.

What could not be seen, was longer than `maxBytes`, or ended with another exit code than 0, is named, and the step is \
`unverified`. Whoever holds a container can lie to those who look from inside: the evidence is what was seen there. A \
path of which a symbolic link is part is not followed. Where a pod shares one process namespace, or its node's, `paths` \
are refused, since nobody can tell whose root is meant. Namespaces of the PodSecurity level `restricted` refuse the \
ephemeral container, which the plan shows.";

#[async_trait]
impl Action for Live {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = NoInverse;

    fn statement(&self) -> Statement {
        Statement {
            name: "evidence.live",
            summary: "Keep the processes, sockets and chosen files of a running pod",
            description: DESCRIPTION,
            permissions: PERMISSIONS,
            attack: &[],
            defend: &["D3-PA", "D3-FA"],
            undo: Undo::No("evidence is only added; an ephemeral container stays until its pod is gone"),
            repeat: Repeat::Never,
            example: "- id: live\n  uses: evidence.live\n  with:\n    image: busybox:1.37\n    paths: [/etc/passwd, /tmp]\n    \
                      target: {apiVersion: v1, kind: Pod, namespace: shop, name: web-1, uid: \
                      2f0d7a5e-4a55-4b6e-9a3c-0c8a3f1f6d11}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, context: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let api = self.connection.api().await?;
        let target = &inputs.target;
        let pod = target.read(&api, &[&POD]).await?;
        let way = inputs.way()?;
        let container = inputs.container(&pod)?;
        if let Some(reason) = refusal(inputs, &pod) {
            return Err(ActionError::denied(format!("{target} cannot be looked into: {reason}")));
        }
        let mut plan = StepPlan { targets: vec![target.reference()], ..StepPlan::default() };
        let needed = if matches!(way, Way::From(_)) { LOOKING } else { RUNNING };
        review(&api, &mut plan, needed, target.namespace.as_deref()).await?;
        match way {
            Way::From(image) => {
                let wanted = inputs.look(image, container).container(&free_name(&pod, "lifeboat-live"));
                plan_container(&api, &mut plan, "container", target.place(&[&POD])?, (&pod, &wanted)).await?;
                plan.memo = wanted;
            }
            Way::By(command) => plan.changes.push(run(target, container, command)),
        }
        plan.changes.push(save(target, "processes, sockets and files"));
        plan.evidence = clocks(&api, &pod, context).await;
        Ok(plan)
    }

    async fn apply(
        &self,
        inputs: &Inputs,
        plan: &StepPlan<Outputs>,
        writes: &mut Writes<'_, NoInverse>,
        context: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let api = self.connection.api().await?;
        let target = &inputs.target;
        let pod = target.read(&api, &[&POD]).await?;
        let beside = inputs.container(&pod)?;
        let (seen, gaps) = match inputs.way()? {
            Way::From(image) => {
                let place = target.place(&[&POD])?;
                let add = async |permit| api.add_container(&permit, place, &target.uid, &plan.memo).await;
                writes.write("container", Inverse::None, add).await?;
                let (log, gaps) = wait(&api, inputs, text(&plan.memo, "/name")).await?;
                (inputs.look(image, beside).seen(target, &log), gaps)
            }
            Way::By(command) => {
                let options = ExecOptions {
                    container: beside,
                    command,
                    limit: usize::try_from(inputs.max_bytes).unwrap_or(usize::MAX),
                    within: inputs.within(),
                };
                let place = target.place(&[&POD])?;
                let run = async |permit| api.exec(&permit, place, options).await;
                told(command, writes.write("run", Inverse::None, run).await?, options)
            }
        };
        writes.write("save", Inverse::None, async |permit| self.keep(&permit, (seen, gaps), context).await).await
    }

    async fn prove(&self, _: &Inputs, outputs: &Outputs, context: &StepContext) -> Result<Proof, ActionError> {
        prove(&self.folder, outputs, context).await
    }

    async fn undo(&self, inverse: NoInverse, _: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        match inverse {}
    }
}

/// Why a pod cannot be looked into.
fn refusal(inputs: &Inputs, pod: &Value) -> Option<String> {
    if has_ended(pod) {
        return Some("nothing runs in it any more".to_owned());
    }
    if inputs.image.is_some() && is_mirror(pod) {
        return Some("it is the mirror of a static pod, and those take no ephemeral containers".to_owned());
    }
    let shared = ["/spec/shareProcessNamespace", "/spec/hostPID"];
    if !inputs.paths.is_empty() && shared.iter().any(|pointer| pod.pointer(pointer) == Some(&Value::Bool(true))) {
        return Some("its processes are not in a namespace of their container, so whose paths are meant?".to_owned());
    }
    let is_plain = |path: &&String| {
        path.starts_with('/') && !path.split('/').any(|part| part == "..") && !path.contains(char::is_control)
    };
    let odd = inputs.paths.iter().find(|path| !is_plain(path))?;
    Some(format!("'{}' is no path from the root", odd.escape_debug()))
}

/// The change that running a program is.
fn run(target: &Target, container: &str, command: &[String]) -> Change {
    let after = serde_json::json!({"container": container, "command": command});
    Change::new("run", "exec", target.reference(), &Value::Null, &after).irreversible(RUN)
}

/// Waits until the ephemeral container has ended, and reads its log. What it told before a deadline is kept too.
async fn wait(api: &Api, inputs: &Inputs, container: &str) -> Result<(Vec<u8>, Vec<String>), ActionError> {
    let target = &inputs.target;
    let place = target.place(&[&POD])?;
    let ended = |pod: &Value| state(pod, container).ended;
    let in_time = api.wait_for(place, inputs.within(), ended).await?;
    let pod = target.read(api, &[&POD]).await?;
    let state = state(&pod, container);
    let mut gaps = Vec::new();
    if !in_time {
        let seconds = inputs.within().as_secs();
        let late = format!("container {container} of {target} has not ended within {seconds} s: {}", state.words);
        if !state.running {
            return Err(ActionError::failed(late));
        }
        gaps.push(late);
    } else if state.exit_code != Some(0) {
        gaps.push(format!("container {container}: {}", state.words));
    }
    let log = api.log(place, container, LOG_BYTES).await?;
    Ok((log, gaps))
}

/// What a program wrote, and how it ended if that was not well.
fn told(command: &[String], executed: Executed, options: ExecOptions<'_>) -> (Vec<Seen>, Vec<String>) {
    let Executed { stdout, stderr, end } = executed;
    let line = command.join(" ").escape_debug().to_string();
    let container = options.container;
    let item = |name: &str, bytes| Seen {
        file: format!("{name}.txt"),
        what: format!("{name} of '{line}' in container {container}"),
        bytes,
        gap: None,
    };
    let why = match end {
        ExecEnd::Exited(0) => None,
        ExecEnd::Exited(code) => Some(format!("it ended with exit code {code}")),
        ExecEnd::OutOfTime => Some(format!("it had not ended after {} s", options.within.as_secs())),
        ExecEnd::OutOfRoom => Some(format!("only its first {} bytes were read", options.limit)),
        ExecEnd::Unknown => Some("the connection ended before it did".to_owned()),
    };
    let gaps = why.map(|why| format!("'{line}' in container {container}: {why}"));
    (vec![item("stdout", stdout), item("stderr", stderr)], gaps.into_iter().collect())
}

impl Live {
    async fn keep(
        &self,
        permit: &Permit,
        (seen, gaps): (Vec<Seen>, Vec<String>),
        context: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let mut outputs = Outputs { evidence: Vec::new(), missing: gaps };
        for Seen { file, what, bytes, gap } in seen {
            // Nothing that was told with a gap is nothing at all.
            if gap.is_none() || !bytes.is_empty() {
                outputs.evidence.push(self.folder.put(permit, context, (&file, what), bytes).await?);
            }
            outputs.missing.extend(gap);
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn inputs(with: &Value) -> Inputs {
        let mut all =
            json!({"target": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web-1", "uid": "u"}});
        all.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn one_of_two_ways_is_taken() {
        for (with, refused) in [
            (json!({"image": "busybox"}), None),
            (json!({"image": "busybox", "paths": ["/tmp"], "ptrace": true}), None),
            (json!({"command": ["ps"]}), None),
            (json!({}), Some("nothing says how")),
            (json!({"image": "busybox", "command": ["ps"]}), Some("two ways")),
            (json!({"command": ["ps"], "paths": ["/tmp"]}), Some("go with an image")),
        ] {
            let error = inputs(&with).way().err().map(|error| error.to_string());
            assert_eq!(error.is_some(), refused.is_some(), "{with}");
            assert!(error.unwrap_or_default().contains(refused.unwrap_or_default()), "{with}");
        }
    }

    #[test]
    fn what_cannot_be_looked_into_is_refused() {
        let image = json!({"image": "busybox", "paths": ["/tmp"]});
        let running = json!({"metadata": {}, "spec": {}, "status": {"phase": "Running"}});
        assert_eq!(refusal(&inputs(&image), &running), None);
        for (with, pod, words) in [
            (&image, json!({"status": {"phase": "Failed"}}), "nothing runs"),
            (&image, json!({"spec": {"hostPID": true}}), "whose paths"),
            (&image, json!({"spec": {"shareProcessNamespace": true}}), "whose paths"),
            (&image, json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}), "static pod"),
            (&json!({"image": "b", "paths": ["tmp"]}), running.clone(), "'tmp' is no path"),
            (&json!({"image": "b", "paths": ["/tmp/../etc"]}), running.clone(), "no path"),
            (&json!({"image": "b", "paths": ["/a\n@done"]}), running.clone(), "no path"),
        ] {
            assert!(refusal(&inputs(with), &pod).unwrap().contains(words), "{with} {pod}");
        }
    }

    #[test]
    fn another_container_than_those_of_the_pod_is_refused() {
        let pod = json!({"spec": {"containers": [{"name": "web"}, {"name": "side"}]}});
        assert_eq!(inputs(&json!({})).container(&pod).unwrap(), "web");
        assert_eq!(inputs(&json!({"container": "side"})).container(&pod).unwrap(), "side");
        assert!(inputs(&json!({"container": "x"})).container(&pod).is_err());
    }
}
