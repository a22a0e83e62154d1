//! Tasks as JSON: some to begin with, and those that clients add. And one customer, for good measure.
//!
//! ```sh
//! cargo run --example tasks [ADDR]
//! ```

use std::{
    collections::VecDeque,
    env, io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chinwag::{
    CloseCode, Message, Peer, SendError, Server, ServerBuilder, Session, Topic,
    session::{self, sleep},
};
use serde::{Deserialize, Serialize};

/// Most tasks that are kept; the oldest goes.
const MAX_TASKS: usize = 1_000;

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub name: String,
    pub description: String,
    pub priority: Priority,
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Priority {
    Low,
    Medium,
    High,
    Vital,
}

/// Somebody who buys things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    pub id: u64,
    pub first_name: String,
    pub last_name: String,
}

/// The tasks one by one at `/tasks`, and as they are added at `/tasks2`; a customer to be had at
/// `/customer/1`, and one to be told of at `/customer`.
pub fn server() -> ServerBuilder {
    let store = Arc::new(Store::default());
    let also_store = Arc::clone(&store);
    Server::builder()
        .websocket("/tasks", move |session| one_by_one(session, Arc::clone(&store)))
        .websocket("/tasks2", move |session| as_they_come(session, Arc::clone(&also_store)))
        .websocket("/customer/1", give_customer)
        .websocket("/customer", take_customer)
}

/// A task a second, and that is all.
async fn one_by_one(session: Session, store: Arc<Store>) -> session::Result {
    let tasks = store.with(|tasks| tasks.clone());
    for task in tasks {
        session.send_as(&task).await?;
        sleep(Duration::from_secs(1)).await;
    }
    session.close(CloseCode::NORMAL, "All done").await
}

/// All tasks so far, then each that anybody adds.
async fn as_they_come(mut session: Session, store: Arc<Store>) -> session::Result {
    let seen = Arc::clone(&store);
    session.ask(move |peer| seen.show(peer)).await??;
    while let Some(task) = session.recv_as::<Task>().await {
        match task {
            Ok(task) => store.add(task)?,
            Err(error) => session.send(format!("this is no task: {error}")).await?,
        }
    }
    Ok(())
}

async fn give_customer(session: Session) -> session::Result {
    let (first_name, last_name) = ("Jane".into(), "Smith".into());
    session.send_as(&Customer { id: 1, first_name, last_name }).await?;
    Ok(())
}

async fn take_customer(mut session: Session) -> session::Result {
    if let Some(customer) = session.recv_as::<Customer>().await.transpose()? {
        let text = format!("A customer with id {} is received by the server.", customer.id);
        session.send(text).await?;
    }
    Ok(())
}

/// The tasks, and the topic of new ones.
struct Store {
    tasks: Mutex<VecDeque<Task>>,
    added: Topic,
}

impl Store {
    /// Has `peer` told of all, and then of new ones. What is added is published under the lock too, so
    /// nothing is missed and nothing told twice.
    fn show(&self, peer: &mut Peer<'_>) -> session::Result<(), SendError> {
        self.with(|tasks| {
            peer.subscribe(&self.added);
            // They are plain structures: JSON has a text for each.
            let texts = tasks.iter().filter_map(|task| Message::from_value(task).ok());
            texts.into_iter().try_for_each(|text| peer.send(text))
        })
    }

    fn add(&self, task: Task) -> session::Result {
        self.with(|tasks| {
            self.added.publish(Message::from_value(&task)?)?;
            if tasks.len() == MAX_TASKS {
                tasks.pop_front();
            }
            tasks.push_back(task);
            Ok(())
        })
    }

    fn with<T>(&self, then: impl FnOnce(&mut VecDeque<Task>) -> T) -> T {
        then(&mut self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for Store {
    fn default() -> Self {
        let task = |name: &str, description: &str, priority| Task {
            name: name.into(),
            description: description.into(),
            priority,
        };
        let tasks = VecDeque::from([
            task("cleaning", "Clean the house", Priority::Low),
            task("gardening", "Mow the lawn", Priority::Medium),
            task("shopping", "Buy the groceries", Priority::High),
            task("painting", "Paint the fence", Priority::Medium),
        ]);
        Self { tasks: Mutex::new(tasks), added: Topic::new() }
    }
}

fn main() -> io::Result<()> {
    let server = server().bind(env::args().nth(1).as_deref().unwrap_or("127.0.0.1:8080"))?;
    println!("ws://{0}/tasks and ws://{0}/tasks2", server.local_addr());
    server.run()
}
