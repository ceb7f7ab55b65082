use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

fn paced() -> (DuplexStream, Paced<DuplexStream>, Arc<Pace>) {
    let pace = Pace::new(HEAD, IDLE);
    let (client, server) = duplex(1024);
    (client, Paced::new(server, pace.clone()), pace)
}

async fn read(paced: &mut Paced<DuplexStream>) -> io::Result<usize> {
    let mut buffer = [0; 64];
    paced.read(&mut buffer).await
}

#[tokio::test(start_paused = true)]
async fn half_a_head_ends_the_connection_however_it_trickles() {
    let (mut client, mut server, _pace) = paced();
    let begun = Instant::now();
    let trickle = tokio::spawn(async move {
        for byte in b"GET / HTTP/1.1\r\nhost: a\r\n" {
            client.write_all(&[*byte]).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        io::Result::Ok(client)
    });
    let error = loop {
        match read(&mut server).await {
            Ok(0) => panic!("the client did not close"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(begun.elapsed().as_secs(), HEAD.as_secs(), "counted from the first byte");
    trickle.abort();
}

#[tokio::test(start_paused = true)]
async fn a_request_at_work_may_take_its_time_and_the_next_head_gets_its_own() {
    let (mut client, mut server, pace) = paced();
    client.write_all(b"GET").await.unwrap();
    assert_eq!(read(&mut server).await.unwrap(), 3);
    let working = pace.work();
    // The body of a request, slowly; hyper reads on while it answers.
    let pause = HEAD * 3;
    tokio::select! {
        result = read(&mut server) => panic!("{result:?}"),
        () = tokio::time::sleep(pause) => {}
    }
    client.write_all(b"body").await.unwrap();
    assert_eq!(read(&mut server).await.unwrap(), 4);
    drop(working);
    tokio::select! {
        result = read(&mut server) => panic!("an idle connection is none that began a head: {result:?}"),
        () = tokio::time::sleep(pause) => {}
    }
    client.write_all(b"G").await.unwrap();
    assert_eq!(read(&mut server).await.unwrap(), 1);
    let begun = Instant::now();
    assert_eq!(read(&mut server).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(begun.elapsed().as_secs(), HEAD.as_secs());
}

#[tokio::test(start_paused = true)]
async fn what_was_handed_over_has_no_heads() {
    let (mut client, mut server, pace) = paced();
    drop(pace.work());
    pace.expect_no_heads();
    client.write_all(b"stream").await.unwrap();
    assert_eq!(read(&mut server).await.unwrap(), 6);
    tokio::select! {
        result = read(&mut server) => panic!("{result:?}"),
        () = tokio::time::sleep(HEAD * 3) => {}
    }
}

#[tokio::test(start_paused = true)]
async fn idle_is_counted_from_the_last_answer() {
    let pace = Pace::new(HEAD, IDLE);
    let begun = Instant::now();
    let working = pace.work();
    let end = tokio::spawn(async move {
        tokio::time::sleep(IDLE * 3).await;
        drop(working);
    });
    pace.idled().await;
    end.await.unwrap();
    let idle = begun.elapsed();
    assert!(idle >= IDLE * 4 && idle < IDLE * 5, "{idle:?}");
}
