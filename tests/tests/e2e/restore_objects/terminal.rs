//! What is asked of the person at a terminal.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::{NAMESPACE, is_there, secret, site};
use crate::support::{Site, apply, boot, shop, turn};

/// Runs the program at a terminal of its own, where somebody types an answer: its exit code, and what is on the screen.
fn at_a_terminal(site: &Site, arguments: &[&str], answer: &str) -> (Option<i32>, String) {
    let program = site.command(arguments);
    let words = std::iter::once(program.get_program()).chain(program.get_args());
    let quoted: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &quoted.join(" "), "/dev/null"]);
    script.current_dir(program.get_current_dir().unwrap()).env("SHELL", "/bin/sh");
    script.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The end of what is typed would be typed too, so that the pipe has to last.
    let mut typed = child.stdin.take().unwrap();
    writeln!(typed, "{answer}").unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_words_that_were_asked_for_go_ahead() {
    let _turn = turn().await;
    let cluster = boot(shop).await;
    let site = site(&cluster);
    let id = site.create();
    cluster.kubectl(&["delete", "secret", "kielholen-secret", "-n", NAMESPACE]);
    let there = |resource: &str, name: &str| is_there(&cluster, &[resource, name, "-n", NAMESPACE]);

    let one = ["restore", "objects", &id, "-n", NAMESPACE, "--kind", "secret"];
    for answer in ["no", "", "yes please", NAMESPACE] {
        let (code, screen) = at_a_terminal(&site, &one, answer);
        assert_eq!(code, Some(5), "{answer}: {screen}");
        assert!(screen.contains("Type 'yes' to go ahead:") && !there("secret", "kielholen-secret"), "{screen}");
    }
    let (code, screen) = at_a_terminal(&site, &one, "yes");
    assert_eq!(code, Some(0), "{screen}");
    assert!(there("secret", "kielholen-secret"), "{screen}");

    // What is deleted is asked about by name, whatever else was agreed to.
    apply(&cluster, "foreign", &secret("foreign", "x"));
    let exact = ["restore", "objects", &id, "-n", NAMESPACE, "--kind", "secret", "--mode", "exact", "--yes"];
    for answer in ["yes", "default"] {
        let (code, screen) = at_a_terminal(&site, &exact, answer);
        assert_eq!(code, Some(5), "{answer}: {screen}");
        assert!(screen.contains("foreign") && screen.contains(&format!("'{NAMESPACE}':")), "{screen}");
        assert!(there("secret", "foreign"), "{screen}");
    }
    let (code, screen) = at_a_terminal(&site, &exact, NAMESPACE);
    assert_eq!(code, Some(0), "{screen}");
    assert!(!there("secret", "foreign"), "{screen}");
}
