//! `run.exec`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use async_trait::async_trait;
use lifeboat_playbook::{
    Action, ActionError, Inverse, NoInverse, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo, Writes,
};
use rustix::process::{Pid, Signal, kill_process_group};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::{Outside, change, tamed};

/// What is kept of each output, in bytes.
const OUTPUT: usize = 64 * 1024;
/// All that a program finds in its environment, besides which run and step it is.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The action `run.exec`.
#[derive(Debug)]
pub(crate) struct Exec(Outside);

/// What to start.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// The program's absolute path, as `playbooks.programs` of the configuration has it, and its arguments. There is no
    /// shell: each is one argument, whatever is in it.
    #[schemars(length(min = 1, max = 100))]
    argv: Vec<String>,
    /// What it reads from its standard input.
    #[serde(default)]
    #[schemars(length(max = 65_536))]
    stdin: String,
    /// The exit code that is success.
    #[serde(default)]
    #[schemars(range(min = 0, max = 255))]
    expect_code: i32,
}

/// How it ended.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// Its exit code.
    code: i32,
    /// What it wrote, at most the first 64 KiB, as text.
    stdout: String,
    /// The same of what it complained.
    stderr: String,
    /// Whether there was more of either.
    is_cut: bool,
}

#[async_trait]
impl Action for Exec {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = NoInverse;

    fn statement(&self) -> Statement {
        Statement {
            name: "run.exec",
            summary: "Start a program that the configuration allows",
            description: "Starts a program on the machine on which Lifeboat runs, with its rights. Its path has to be in \
                          `playbooks.programs` of the configuration, exactly; without it nothing can be started. There is no \
                          shell, the folder is `/`, and the environment has `PATH`, `LIFEBOAT_RUN` and `LIFEBOAT_STEP` alone. \
                          It is the first of a process group of its own, which is killed when the step's `timeout` is over \
                          or the run is cancelled, and when the program has ended, so that nothing which it started stays; \
                          what leaves the group is not found. The first 64 KiB of each output are kept, in the journal too. \
                          Any other exit code than the expected one is a failure. What it has done is not known here: give \
                          the playbook a step that looks.",
            permissions: &[],
            attack: &[],
            defend: &[],
            undo: Undo::No("what a program does is not known here"),
            repeat: Repeat::Never,
            example: "- id: snapshot\n  uses: run.exec\n  timeout: 5m\n  with:\n    argv: [/usr/local/bin/snapshot-volume, \
                      --node, worker-3]\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let program = self.allowed(inputs)?;
        let what = json!({"argv": inputs.argv, "stdin": inputs.stdin});
        let start = change("start", "Program", program.display().to_string(), &what, "what it does is not known here");
        Ok(StepPlan { changes: vec![start], ..StepPlan::default() })
    }

    async fn apply(
        &self,
        inputs: &Inputs,
        _: &StepPlan<Outputs>,
        writes: &mut Writes<'_, NoInverse>,
        context: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let program = self.allowed(inputs)?;
        writes.write("start", Inverse::None, async |permit| run(&permit, program, inputs, context).await).await
    }

    async fn prove(&self, _: &Inputs, outputs: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        Ok(Proof::Observed(format!("it ended with exit code {}", outputs.code)))
    }

    async fn undo(&self, inverse: NoInverse, _: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        match inverse {}
    }
}

impl Exec {
    pub(crate) fn new(outside: Outside) -> Self {
        Self(outside)
    }

    fn allowed(&self, inputs: &Inputs) -> Result<&PathBuf, ActionError> {
        let wanted = inputs.argv.first().map_or("", String::as_str);
        // As it is written: `/usr/bin/../bin/x` is another path.
        let found = self.0.programs.iter().find(|program| program.as_os_str() == wanted);
        let program = found.ok_or_else(|| {
            ActionError::denied(format!("'{wanted}' is not in playbooks.programs of the configuration"))
        })?;
        if inputs.argv.iter().any(|argument| argument.contains('\0')) {
            return Err(ActionError::denied("an argument has a zero byte in it"));
        }
        Ok(program)
    }
}

/// A program and all that it started, as far as that stays in its group. They end with this.
struct Group {
    child: Child,
    id: Option<Pid>,
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // Nobody is left where this fails.
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

fn start(_: &Permit, program: &Path, inputs: &Inputs, context: &StepContext) -> std::io::Result<Group> {
    let mut command = Command::new(program);
    command.args(inputs.argv.iter().skip(1)).current_dir("/").env_clear().env("PATH", PATH);
    command.env("LIFEBOAT_RUN", context.run().as_str()).env("LIFEBOAT_STEP", context.step());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.process_group(0).kill_on_drop(true).spawn()?;
    let id = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    Ok(Group { child, id })
}

async fn run(permit: &Permit, program: &Path, inputs: &Inputs, context: &StepContext) -> Result<Outputs, ActionError> {
    let name = program.display();
    let mut group = start(permit, program, inputs, context)
        .map_err(|error| ActionError::failed(format!("{name} cannot be started")).because(error))?;
    let (stdin, stdout, stderr) = (group.child.stdin.take(), group.child.stdout.take(), group.child.stderr.take());
    let feeding = async {
        if let Some(mut stdin) = stdin {
            // A program need not read it.
            let _ = stdin.write_all(inputs.stdin.as_bytes()).await;
        }
    };
    // Who holds an output open without being the program is killed with its group.
    let ending = async {
        let status = group.child.wait().await;
        if let Some(id) = group.id.take() {
            let _ = kill_process_group(id, Signal::KILL);
        }
        status
    };
    let work = async { tokio::join!(feeding, kept(stdout), kept(stderr), ending) };
    let Some(((), stdout, stderr, status)) = context.cancelled().run_until_cancelled(work).await else {
        return Err(ActionError::uncertain(format!("{name} was killed before it had ended")));
    };
    let status = status.map_err(|error| ActionError::uncertain(format!("{name} was lost")).because(error))?;
    let Some(code) = status.code() else {
        return Err(ActionError::uncertain(format!("{name} ended by a signal: {status}")));
    };
    let (stdout, more_out) = stdout;
    let (stderr, more_err) = stderr;
    if code == inputs.expect_code {
        let (stdout, stderr) = (tamed(&stdout), tamed(&stderr));
        return Ok(Outputs { code, stdout, stderr, is_cut: more_out || more_err });
    }
    let beginning: String = tamed(&stderr).chars().take(200).collect();
    Err(ActionError::failed(format!("{name} ended with exit code {code}: {beginning}")))
}

/// The beginning of an output. All of it is read, so that nobody waits for a reader.
async fn kept(output: Option<impl AsyncRead + Unpin>) -> (Vec<u8>, bool) {
    let Some(mut output) = output else { return (Vec::new(), false) };
    let (mut kept, mut buffer, mut is_cut) = (Vec::new(), [0; 8192], false);
    while let Ok(read @ 1..) = output.read(&mut buffer).await {
        let new = buffer.get(..read).unwrap_or_default();
        let room = OUTPUT - kept.len();
        kept.extend_from_slice(new.get(..room).unwrap_or(new));
        is_cut |= new.len() > room;
    }
    (kept, is_cut)
}
