//! Compares the whole path with an independent fold in another language (`tests/oracle`), on a stream made to
//! be difficult: late and repeated events, merges of merges, odd ids, broken records.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::crash::{killed, verify};
use crate::harness::{Home, KEY, Topic, kafka};

fn python(script: &str) -> Command {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle");
    let mut command = Command::new("python3");
    command.arg("-B").arg(folder.join(script)).stdin(Stdio::null());
    command
}

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.stderr(Stdio::inherit()).output().expect("the command can be started");
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stdout));
    output.stdout
}

#[test]
fn an_independent_fold_of_the_same_topic_gives_the_same_answers() {
    for (seed, partitions) in [("1", 1), ("2", 4)] {
        let topic = Topic::create("oracle", partitions);
        let stream =
            output(python("storm.py").args(["--events", "6000", "--ids", "300", "--seed", seed]));
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let mut kcat = Command::new("kcat");
        kcat.args(["-P", "-b", &kafka(), "-t", &topic.name, "-K", "\t"]).stdin(Stdio::piped());
        let mut kcat = kcat.spawn().expect("kcat is installed (scripts/setup test)");
        kcat.stdin.take().unwrap().write_all(&stream).unwrap();
        assert!(kcat.wait().unwrap().success());
        let records = output(Command::new("kcat").args([
            "-C",
            "-J",
            "-e",
            "-q",
            "-b",
            &kafka(),
            "-t",
            &topic.name,
        ]));
        std::fs::write(file("records"), records).unwrap();
        let project = ["--project", "phc_example=1"];
        let sample = ["--sample-queries", "150", "--sample-known"];
        let queries = output(python("fold.py").arg(file("records")).args(project).args(sample));
        std::fs::write(file("queries"), queries).unwrap();
        let asked = ["--queries", &file("queries"), "--out", &file("answers")];
        output(python("fold.py").arg(file("records")).args(project).args(asked));
        let home = Home::with(&topic, "[ingest]\nbatch_records = 100\n");
        let config = std::fs::read_to_string(home.config()).unwrap();
        std::fs::write(
            home.config(),
            config.replace("tokens = [\"t\"]", "tokens = [\"phc_example\"]"),
        )
        .unwrap();
        killed(&home, &topic, 500);
        let service = home.serve();
        service.wait_for_readiness(200);
        let where_to = ["--url", &service.url, "--key", KEY];
        let compared =
            output(python("compare.py").args(where_to).args([file("queries"), file("answers")]));
        let compared = String::from_utf8_lossy(&compared);
        assert!(compared.contains(", 0 different"), "{compared}");
        service.terminate();
        verify(&home);
    }
}
