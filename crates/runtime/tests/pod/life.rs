//! Starting, ending, logs, signals, removal.

use naru_runtime::pod::{ContainerName, PodError, Runtime, StartStep};

use crate::support::machine;

#[tokio::test]
async fn a_container_runs_logs_and_ends_with_its_code() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p1").await;
    let config = m.container(&uid, "web", "echo out; echo err >&2; printf unfinished; exit 7");
    let exit = m.run(&uid, config).await;
    assert_eq!((exit.code, exit.signal, exit.oom, exit.reason()), (7, None, false, "Error"));
    let raw = std::fs::read_to_string(m.log_path(&uid, "web")).unwrap();
    assert!(
        raw.contains(" stdout F out\n") && raw.contains(" stderr F err\n") && raw.contains(" F unfinished\n"),
        "{raw}"
    );
    m.pods.destroy(&uid).await.unwrap();
    assert_eq!(m.leftovers(), Default::default());
}
