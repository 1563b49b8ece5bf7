//! Messages, requests and programs: real servers and real processes, and no cluster.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use lifeboat_actions::Outside;
use lifeboat_model::Config;
use lifeboat_playbook::{Engine, Identity, Outcome, Planned, Request, RunRecord, load};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::world::{DEADLINE, ended, engine_with};

/// A server that tells what it hears, and answers in turn; 200 in the end.
struct Server {
    address: SocketAddr,
    heard: Receiver<String>,
}

impl Server {
    fn start(answers: &'static [(u16, &'static str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, heard) = channel();
        std::thread::spawn(move || {
            let mut answers = answers.iter().copied();
            while let Ok((mut stream, _)) = listener.accept() {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut text, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                        break;
                    }
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    text.push_str(&line);
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                text.push_str(&String::from_utf8(body).unwrap());
                if sender.send(text).is_err() {
                    return;
                }
                let (status, body) = answers.next().unwrap_or((200, "fine"));
                let more = if status == 302 { "Location: http://127.0.0.1:1/\r\n" } else { "" };
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n{body}");
                // Whoever has gone does not listen any more.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { address, heard }
    }

    fn hear(&self) -> String {
        self.heard.recv_timeout(DEADLINE).unwrap()
    }
}

/// An engine whose configuration has these members, and a folder for files.
struct Bench {
    engine: Engine,
    dir: TempDir,
}

impl Bench {
    fn new(more: impl FnOnce(&Path) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "apiVersion: lifeboat.dev/v1alpha1\nkind: Config\ncluster: {{name: prod}}\nstore: {{directory: {{path: /x}}}}\n{}",
            more(dir.path())
        );
        let config = Config::parse("lifeboat.yaml", &config).unwrap();
        assert_eq!(config.check(), Ok(()));
        let path = |name: &str| dir.path().join(name);
        let engine = engine_with(&path("none"), &path("evidence"), &path("runs"), Outside::from(&config));
        Self { engine, dir }
    }

    /// Plans a step, and performs it unless the plan refuses it.
    async fn step(&self, uses: &str, with: &Value, timeout: &str) -> Result<RunRecord, String> {
        let document = json!({
            "apiVersion": "lifeboat.dev/v1alpha1", "kind": "Playbook", "metadata": {"name": "test"},
            "spec": {"description": "A test.", "steps": [{"id": "it", "uses": uses, "with": with, "timeout": timeout}]},
        });
        let none = std::collections::BTreeMap::new();
        let playbook = load("test.yaml", &document.to_string(), &self.engine.registry, &none);
        let playbook = playbook.unwrap_or_else(|errors| panic!("{errors}"));
        let request = Request { inputs: Map::new(), requester: Identity("tester".to_owned()), trigger: None };
        let cancel = CancellationToken::new();
        let plan = self.engine.plan(&playbook, &request, &cancel).await.unwrap();
        if let Planned::Refused(reason) = &plan.steps[0].state {
            return Err(reason.clone());
        }
        let hash = plan.hash;
        Ok(self.engine.run(&playbook, plan, &hash, Arc::new(()), &cancel).await.unwrap())
    }

    async fn journal(&self, record: &RunRecord) -> String {
        let stored = self.engine.journals.read(&record.run).await.unwrap();
        String::from_utf8(stored.bytes).unwrap()
    }
}

fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_where_the_configuration_says() {
    let server = Server::start(&[(503, ""), (200, ""), (200, ""), (404, "")]);
    let bench = Bench::new(|dir| {
        let url = file(dir, "url", &format!("http://{}/services/s3cr3t", server.address));
        let token = file(dir, "token", "t0k3n");
        format!(
            "daemon:\n  notify:\n    webhooks:\n    - {{name: pager, urlFile: {url}, tokenFile: {token}}}\n    \
             - {{name: chat, urlFile: {url}, format: slack}}\n    - {{name: gone, urlFile: /nonexistent}}\n",
            url = url.display(),
            token = token.display()
        )
    });
    let tell = |channel: &str| json!({"channel": channel, "text": "web-1 <!channel>\u{1b}[2J is isolated"});
    // Busy at first.
    let record = bench.step("notify", &tell("pager"), "10m").await.unwrap();
    let (outcome, proof) = ended(&record, "it");
    assert_eq!((outcome, proof.as_str()), (Outcome::Success, "webhook pager took it with status 200"));
    assert_eq!(server.hear(), server.hear());
    let journal = bench.journal(&record).await;
    assert!(!journal.contains("s3cr3t") && !journal.contains("t0k3n"), "{journal}");

    bench.step("notify", &tell("chat"), "10m").await.unwrap();
    let heard = server.hear();
    assert!(heard.contains(r#"{"text":"[playbook] prod: web-1 &lt;!channel&gt; [2J is isolated\nrun: "#), "{heard}");
    assert!(heard.contains(r"\n0 of 0 steps done"), "{heard}");
    let record = bench.step("notify", &tell("pager"), "10m").await.unwrap();
    let (outcome, message) = ended(&record, "it");
    assert!(outcome == Outcome::Failed && message.contains("404"), "{outcome:?} {message}");
    let heard = server.hear();
    assert!(heard.contains("authorization: Bearer t0k3n"), "{heard}");
    let body: Value = serde_json::from_str(heard.rsplit_once("\r\n").unwrap().1).unwrap();
    assert_eq!((&body["event"], &body["cluster"], &body["step"]), (&json!("playbook"), &json!("prod"), &json!("it")));
    assert_eq!(body["summary"], "web-1 <!channel> [2J is isolated");

    for (channel, says) in [("nobody", "there is no webhook 'nobody'"), ("gone", "cannot be called as it stands")] {
        let refused = bench.step("notify", &tell(channel), "10m").await.unwrap_err();
        assert!(refused.contains(says), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_to_the_hosts_of_the_configuration_alone() {
    let server = Server::start(&[(201, "{\"id\": 7}\u{1b}[2J"), (302, ""), (500, "no"), (200, "")]);
    let port = server.address.port();
    let bench = Bench::new(|dir| {
        let headers = file(dir, "headers", "Authorization: Bearer t0k3n\n");
        let headers = headers.display();
        format!(
            "playbooks:\n  hosts:\n  - {{host: '127.0.0.1:{port}', plain: true, headersFile: {headers}}}\n  \
             - {{host: 'localhost:{port}', plain: true}}\n  - {{host: secure.example}}\n"
        )
    });
    let here = format!("http://127.0.0.1:{port}/v1/blocks?a=b");
    let post = json!({"url": here, "method": "POST", "headers": {"Content-Type": "application/json", "Authorization": "mine"},
        "body": "{}", "expectStatus": [201]});
    let record = bench.step("run.http", &post, "10m").await.unwrap();
    assert_eq!(ended(&record, "it"), (Outcome::Success, format!("{here} answered with status 201")));
    let heard = server.hear();
    let lower = heard.to_ascii_lowercase();
    assert!(heard.starts_with("POST /v1/blocks?a=b HTTP/1.1\r\n") && heard.ends_with("\r\n{}"), "{heard}");
    let key = format!("idempotency-key: {}/it/send", record.run.as_str().to_ascii_lowercase());
    assert!(
        lower.contains("authorization: bearer t0k3n") && !lower.contains("mine") && lower.contains(&key),
        "{heard}"
    );
    let journal = bench.journal(&record).await;
    assert!(
        !journal.contains("t0k3n") && journal.contains(r#"{\"id\": 7}"#) && !journal.contains('\u{1b}'),
        "{journal}"
    );

    for (status, says) in [(302, "status 302"), (500, "status 500: no")] {
        let record = bench.step("run.http", &json!({"url": here}), "10m").await.unwrap();
        let (outcome, message) = ended(&record, "it");
        assert!(outcome == Outcome::Failed && message.contains(says), "{status}: {outcome:?} {message}");
        server.hear();
    }
    // A name for this machine, whatever the configuration says of it.
    let record = bench.step("run.http", &json!({"url": format!("http://localhost:{port}/")}), "10m").await.unwrap();
    let (outcome, message) = ended(&record, "it");
    assert!(outcome != Outcome::Success && message.contains("no address that may be called"), "{outcome:?} {message}");
    assert!(server.heard.try_recv().is_err());

    for (url, says) in [
        ("https://elsewhere.example/", "not in playbooks.hosts"),
        ("https://secure.example:8443/", "not in playbooks.hosts"),
        ("https://secure.example@elsewhere.example/", "not in playbooks.hosts"),
        ("https://me:password@secure.example/", "not in playbooks.hosts"),
        ("http://secure.example:443/", "not in playbooks.hosts"),
        ("http://secure.example/", "by https:// alone"),
        ("ftp://secure.example/", "no https://"),
        ("/v1", "no https://"),
    ] {
        let refused = bench.step("run.http", &json!({"url": url}), "10m").await.unwrap_err();
        assert!(refused.contains(says), "{url}: {refused}");
    }
    let refused = bench.step("run.http", &json!({"url": here, "headers": {"Host": "x"}}), "10m").await.unwrap_err();
    assert!(refused.contains("not a playbook's to set"), "{refused}");
    let nothing = Bench::new(|_| String::new());
    let refused = nothing.step("run.http", &json!({"url": here}), "10m").await.unwrap_err();
    assert!(refused.contains("not in playbooks.hosts"), "{refused}");
}

fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = file(dir, name, &format!("#!/bin/sh\n{text}\n"));
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

/// Whether a process is there that is no zombie.
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_are_those_of_the_configuration_and_leave_nothing_behind() {
    let mut programs = Vec::new();
    let bench = Bench::new(|dir| {
        programs = vec![
            script(dir, "show", "echo \"$# $1|$2\"; pwd; env | sort; cat; printf 'bad\\033[2J' >&2; exit 3"),
            script(dir, "flood", "head -c 300000 /dev/zero | tr '\\0' x"),
            script(dir, "stay", "sleep 1000 & echo $! >\"$1.new\"; mv \"$1.new\" \"$1\"; wait"),
            script(dir, "leave", "sleep 1000 & echo $!"),
        ];
        let list: Vec<String> = programs.iter().map(|program| format!("  - {}\n", program.display())).collect();
        format!("playbooks:\n  programs:\n{}", list.concat())
    });
    let path = |number: usize| programs[number].to_str().unwrap();

    let with = json!({"argv": [path(0), "a b; $(id)", ""], "stdin": "given\n", "expectCode": 3});
    let record = bench.step("run.exec", &with, "10m").await.unwrap();
    assert_eq!(ended(&record, "it"), (Outcome::Success, "it ended with exit code 3".to_owned()));
    let outputs = record.step("it").unwrap().outputs.clone().unwrap();
    let stdout = outputs["stdout"].as_str().unwrap();
    assert!(stdout.starts_with("2 a b; $(id)|\n/\n"), "{stdout}");
    let known = ["LIFEBOAT_RUN=", "LIFEBOAT_STEP=it", "PATH=", "PWD=/", "OLDPWD=", "SHLVL=", "_="];
    let environment = stdout.lines().skip(2).filter(|line| line.contains('='));
    assert!(environment.clone().all(|line| known.iter().any(|name| line.starts_with(name))), "{stdout}");
    assert!(stdout.ends_with("given\n") && environment.count() >= 3, "{stdout}");
    assert_eq!(outputs["stderr"], "bad\u{fffd}[2J");
    let record = bench.step("run.exec", &json!({"argv": [path(0)]}), "10m").await.unwrap();
    let (outcome, message) = ended(&record, "it");
    assert!(outcome == Outcome::Failed && message.contains("exit code 3: bad"), "{outcome:?} {message}");

    let record = bench.step("run.exec", &json!({"argv": [path(1)]}), "10m").await.unwrap();
    let outputs = record.step("it").unwrap().outputs.clone().unwrap();
    assert_eq!((outputs["stdout"].as_str().unwrap().len(), &outputs["isCut"]), (65_536, &json!(true)));

    // What it has started goes with it: at the deadline, and when it ends by itself.
    let note = bench.dir.path().join("pid");
    let record = bench.step("run.exec", &json!({"argv": [path(2), note.to_str().unwrap()]}), "5s").await.unwrap();
    let (outcome, message) = ended(&record, "it");
    assert!(outcome != Outcome::Success, "{outcome:?} {message}");
    let mut started = vec![std::fs::read_to_string(&note).unwrap_or_default()];
    let record = bench.step("run.exec", &json!({"argv": [path(3)]}), "10m").await.unwrap();
    started.push(record.step("it").unwrap().outputs.clone().unwrap()["stdout"].as_str().unwrap().to_owned());
    let until = Instant::now() + DEADLINE;
    for pid in started.iter().map(|pid| pid.trim()).filter(|pid| !pid.is_empty()) {
        while lives(pid) {
            assert!(Instant::now() < until, "process {pid} goes on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    let other = format!("{}/../{}", bench.dir.path().display(), path(0).trim_start_matches('/'));
    for argv in [json!(["/bin/sh", "-c", "id"]), json!(["show"]), json!([other])] {
        let refused = bench.step("run.exec", &json!({"argv": argv}), "10m").await.unwrap_err();
        assert!(refused.contains("not in playbooks.programs"), "{refused}");
    }
    std::fs::remove_file(path(1)).unwrap();
    let record = bench.step("run.exec", &json!({"argv": [path(1)]}), "10m").await.unwrap();
    let (outcome, message) = ended(&record, "it");
    assert!(outcome == Outcome::Failed && message.contains("cannot be started"), "{outcome:?} {message}");
}
