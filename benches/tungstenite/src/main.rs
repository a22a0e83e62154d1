//! The same work done by chinwag and by tungstenite, turn by turn in one run.
//!
//! Each row is checked once for the same result, then timed: a sample of one, a sample of the other,
//! and so on, so that whatever else the machine does falls on both. The table has medians.

mod handshake;
mod mask;
mod measure;
mod messages;
mod work;

use measure::Table;

fn main() {
    let mut table = Table::default();
    work::headers(&mut table);
    work::masking(&mut table);
    work::utf8(&mut table);
    handshake::server(&mut table);
    messages::whole(&mut table);
    table.print();
}
