//! Echoes every case of the Autobahn suite's fuzzing server, for it to judge the client.
//!
//! ```text
//! cargo run --example autobahn_client ws://127.0.0.1:9001 [AGENT]
//! ```
//!
//! `tests/autobahn/run --client` starts that server, and tells what it found.

use std::{env, error::Error, time::Duration};

use chinwag::{
    CloseCode, Deflate, Limits, Message,
    client::{Client, ClientBuilder},
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let url = args.next().ok_or("whose cases? Give a URL such as ws://127.0.0.1:9001")?;
    let agent = args.next().unwrap_or_else(|| "chinwag".into());

    // Section 9 has messages of 16 MiB, and sections 12 and 13 ask for every window and takeover.
    let limits = Limits { max_frame: 16 << 20, max_message: 16 << 20, ..Limits::default() };
    let deflate = Deflate {
        server_window_bits: 15,
        client_window_bits: 15,
        server_takeover: true,
        client_takeover: true,
        min_len: 0,
        ..Deflate::default()
    };
    let builder = Client::builder()
        .limits(limits)
        .deflate(deflate)
        .read_timeout(Some(Duration::from_secs(120)));

    let cases = count(&builder, &url)?;
    for case in 1..=cases {
        echo(&builder, &format!("{url}/runCase?case={case}&agent={agent}"))?;
    }
    let mut report = builder.connect(&format!("{url}/updateReports?agent={agent}"))?;
    while report.recv()?.is_some() {}
    println!("{cases} cases");
    Ok(())
}

/// How many cases there are to be echoed.
fn count(builder: &ClientBuilder, url: &str) -> Result<u32, Box<dyn Error>> {
    let mut client = builder.connect(&format!("{url}/getCaseCount"))?;
    let Some(Message::Text(count)) = client.recv()? else { return Err("there is no count".into()) };
    client.close(CloseCode::NORMAL, "")?;
    Ok(count.parse()?)
}

/// Sends back what comes, until the connection ends.
fn echo(builder: &ClientBuilder, url: &str) -> Result<(), Box<dyn Error>> {
    let mut client = builder.connect(url)?;
    while let Some(message) = client.recv()? {
        // Fails where the connection has ended already, which is for the suite to judge.
        client.send(message).ok();
    }
    Ok(())
}
