//! Which session an earlier response belongs to, for `previous_response_id`.
//!
//! Kept in memory only, for a while, and only for whoever made the response.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::base::id::SessionKey;
use crate::gateway::http::caller::Principal;

const MOST: usize = 500;
const TTL_MS: u64 = 30 * 60 * 1000;

/// Where a response was made, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    pub agent: String,
    pub explicit_session: Option<String>,
    pub principal: Principal,
    pub session: SessionKey,
}

/// The responses of the last half hour, at most 500.
#[derive(Debug, Default)]
pub struct Memory(Mutex<VecDeque<(u64, String, Remembered)>>);

impl Memory {
    /// The session of response `id` if it was made in the same circumstances.
    pub fn find(&self, id: &str, asked: &Remembered, now: u64) -> Option<SessionKey> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, _, place) = all
            .iter()
            .rev()
            .find(|(at, known, _)| known == id && now.saturating_sub(*at) < TTL_MS)?;
        let same = place.agent == asked.agent
            && place.explicit_session == asked.explicit_session
            && place.principal == asked.principal;
        same.then(|| place.session.clone())
    }

    pub fn remember(&self, id: String, place: Remembered, now: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while all.len() >= MOST
            || all.front().is_some_and(|(at, ..)| now.saturating_sub(*at) >= TTL_MS)
        {
            all.pop_front();
        }
        all.push_back((now, id, place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_caller_and_agent_get_their_session_back_and_not_for_ever() {
        let memory = Memory::default();
        let place = Remembered {
            agent: "main".into(),
            explicit_session: None,
            principal: Principal::Anyone,
            session: SessionKey::new("agent:main:x"),
        };
        memory.remember("resp_1".into(), place.clone(), 0);
        assert_eq!(memory.find("resp_1", &place, 5), Some(place.session.clone()));
        assert_eq!(memory.find("resp_2", &place, 5), None);
        assert_eq!(memory.find("resp_1", &place, TTL_MS), None);
        let other = Remembered { principal: Principal::User("eve".into()), ..place.clone() };
        assert_eq!(memory.find("resp_1", &other, 5), None);
        for n in 0..MOST {
            memory.remember(format!("r{n}"), place.clone(), 1);
        }
        assert_eq!(memory.find("resp_1", &place, 5), None);
    }
}
