//! The reference in `docs/api.md`: every command in it is run as printed, and must answer what is printed
//! below it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value as Json;

use crate::harness::personview;

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md");

/// The address of the server in the reference.
const PRINTED: &str = "http://127.0.0.1:8000";

/// The placeholder of a value that differs in every run.
const ANYTHING: &str = "…";

/// A command of the reference, and the block below it.
struct Example {
    command: String,
    /// The language of the block and its text.
    answer: Option<(String, String)>,
}

/// Returns the fenced blocks of a page: language and text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(language), None) => open = Some((language.to_owned(), String::new())),
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

fn examples(page: &str) -> Vec<Example> {
    let blocks = blocks(page);
    let is_command =
        |(language, text): &(String, String)| language == "sh" && text.contains("curl");
    let commands = blocks.iter().enumerate().filter(|(_, block)| is_command(block));
    commands
        .map(|(index, (_, command))| Example {
            command: command.clone(),
            answer: blocks.get(index + 1).filter(|block| block.0 != "sh").cloned(),
        })
        .collect()
}

/// A running `personview demo`, ended with the test.
struct Demo {
    process: Child,
    url: String,
}

impl Demo {
    fn start() -> Self {
        let mut command = personview(&["demo"]);
        command.env("PERSONVIEW_API__LISTEN", "127.0.0.1:0");
        let process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut demo = Self { process, url: String::new() };
        let told = BufReader::new(demo.process.stdout.take().unwrap());
        let serving = told.lines().map_while(Result::ok).find_map(|line| {
            line.strip_prefix("Serving at ").map(|rest| rest.split(' ').next().unwrap().to_owned())
        });
        demo.url = serving.expect("the demo did not start");
        demo
    }

    /// Returns what a command of the reference prints.
    fn run(&self, command: &str) -> String {
        let script = format!(
            "set -e; curl() {{ command curl -sS --fail-with-body --max-time 30 \"$@\"; }}\n{}",
            command.replace(PRINTED, &self.url)
        );
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}\n{errors}");
        String::from_utf8(output.stdout).unwrap().replace(&self.url, PRINTED)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // If it ended by itself, there is nothing to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether an answer is as printed; `…` matches anything.
fn is_as_printed(printed: &Json, found: &Json) -> bool {
    match (printed, found) {
        (Json::String(text), _) if text == ANYTHING => true,
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_as_printed(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| is_as_printed(a, b)))
        }
        _ => printed == found,
    }
}

#[test]
fn every_command_of_the_reference_answers_what_is_printed_there() {
    let demo = Demo::start();
    let page = std::fs::read_to_string(REFERENCE).unwrap();
    let (mut compared, mut wrong) = (0, Vec::new());
    for Example { command, answer } in examples(&page) {
        let found = demo.run(&command);
        let Some((language, printed)) = answer else { continue };
        compared += 1;
        let is_right = match language.as_str() {
            "json" => {
                let printed: Json = serde_json::from_str(&printed).expect(&printed);
                // One line may be printed of an answer that has many.
                let found = serde_json::Deserializer::from_str(&found).into_iter::<Json>();
                found.map_while(Result::ok).any(|found| is_as_printed(&printed, &found))
            }
            "csv" => printed == found.replace("\r\n", "\n"),
            // Status and headers.
            "text" => printed.lines().all(|line| found.lines().any(|found| found == line)),
            other => panic!("a block of {other} below\n{command}"),
        };
        if !is_right {
            wrong.push(format!("{command}printed:\n{printed}found:\n{found}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 8, "only {compared} examples were found");
}

#[test]
fn the_comparison_can_fail() {
    let page =
        "text\n```sh\ncurl x\n```\nmore\n```json\n{\"a\": [1, \"…\"]}\n```\n```json\n{}\n```\n";
    let examples = examples(page);
    assert_eq!(examples.len(), 1);
    let (_, printed) = examples[0].answer.as_ref().unwrap();
    let printed: Json = serde_json::from_str(printed).unwrap();
    assert!(is_as_printed(&printed, &serde_json::json!({"a": [1, {"b": 2}]})));
    for other in [r#"{"a": [2, 3]}"#, r#"{"a": [1]}"#, r#"{"a": [1, 2], "b": 1}"#, "{}"] {
        assert!(!is_as_printed(&printed, &serde_json::from_str(other).unwrap()), "{other}");
    }
}
