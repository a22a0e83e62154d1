//! The state machine as one table (§4.1, §7.1).
//!
//! ```text
//!                            ┌─ SendClose ──> CloseSent ──────── ReceiveClose ─┐
//! Connecting ── Upgrade ──> Open                                          CloseExchanged
//!                            └─ ReceiveClose ──> CloseReceived ── SendClose ───┘
//!
//! Fail and Disconnect lead from everywhere to Closed.
//! ```

/// Where this endpoint stands (§4.1, §7.1). The three `Close*` states are the RFC's CLOSING.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The opening handshake is under way.
    Connecting,
    /// Messages flow both ways.
    Open,
    /// We sent a Close and wait for the peer's.
    CloseSent,
    /// The peer sent a Close and ours is due. Only raw mode stays here: its owner answers.
    CloseReceived,
    /// Both Close frames travelled; the server ends TCP (§7.1.1).
    CloseExchanged,
    /// Nothing is received any more and nothing new is sent. A Close that tells of a failure may
    /// still be on its way out.
    Closed,
}

/// What moves an endpoint from one state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The opening handshake succeeded.
    Upgrade,
    /// Our Close frame is written.
    SendClose,
    /// The peer's Close frame was read.
    ReceiveClose,
    /// We fail the connection (§7.1.7).
    Fail,
    /// TCP has ended, or a deadline for it has passed.
    Disconnect,
}

impl State {
    /// Whether frames from the peer count here.
    pub fn receives(self) -> bool {
        matches!(self, Self::Open | Self::CloseSent)
    }

    /// The state after `step`, or `None` where the RFC knows no such step.
    pub(super) fn after(self, step: Step) -> Option<Self> {
        match (self, step) {
            (_, Step::Fail | Step::Disconnect) => Some(Self::Closed),

            (Self::Connecting, Step::Upgrade) => Some(Self::Open),
            (Self::Open, Step::SendClose) => Some(Self::CloseSent),
            (Self::Open, Step::ReceiveClose) => Some(Self::CloseReceived),
            (Self::CloseSent, Step::ReceiveClose) => Some(Self::CloseExchanged),
            (Self::CloseReceived, Step::SendClose) => Some(Self::CloseExchanged),

            (
                Self::Open
                | Self::CloseSent
                | Self::CloseReceived
                | Self::CloseExchanged
                | Self::Closed,
                Step::Upgrade,
            )
            | (
                Self::Connecting | Self::CloseSent | Self::CloseExchanged | Self::Closed,
                Step::SendClose,
            )
            | (
                Self::Connecting | Self::CloseReceived | Self::CloseExchanged | Self::Closed,
                Step::ReceiveClose,
            ) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 6] = [
        State::Connecting,
        State::Open,
        State::CloseSent,
        State::CloseReceived,
        State::CloseExchanged,
        State::Closed,
    ];

    #[test]
    fn every_step_stands_in_the_table() {
        let ways: Vec<_> = STATES
            .into_iter()
            .flat_map(|from| {
                [Step::Upgrade, Step::SendClose, Step::ReceiveClose]
                    .map(|step| from.after(step).map(|to| (from, step, to)))
            })
            .flatten()
            .collect();
        assert_eq!(
            ways,
            [
                (State::Connecting, Step::Upgrade, State::Open),
                (State::Open, Step::SendClose, State::CloseSent),
                (State::Open, Step::ReceiveClose, State::CloseReceived),
                (State::CloseSent, Step::ReceiveClose, State::CloseExchanged),
                (State::CloseReceived, Step::SendClose, State::CloseExchanged),
            ]
        );
    }

    #[test]
    fn failing_and_disconnecting_lead_to_closed_from_everywhere() {
        for from in STATES {
            assert_eq!(from.after(Step::Fail), Some(State::Closed));
            assert_eq!(from.after(Step::Disconnect), Some(State::Closed));
        }
    }
}
