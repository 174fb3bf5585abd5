//! Sums of tokens and dollars, in the shape that usage results share.

use serde_json::{Map, Value, json};

/// Tokens and what they cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    pub total_tokens: u64,
    pub total_cost: f64,
    pub input_cost: f64,
    pub output_cost: f64,
    pub cache_read_cost: f64,
    pub cache_write_cost: f64,
    /// Answers whose price is not known.
    pub missing_cost_entries: u64,
}

impl Totals {
    /// Reads a message's `usage`; `None` when it has none.
    pub fn of_usage(usage: &Value) -> Option<Self> {
        let usage = usage.as_object()?;
        let tokens = |key: &str| usage.get(key).and_then(Value::as_u64).unwrap_or(0);
        let mut totals = Self {
            input: tokens("input"),
            output: tokens("output"),
            cache_read: tokens("cacheRead"),
            cache_write: tokens("cacheWrite"),
            ..Self::default()
        };
        totals.total_tokens = usage
            .get("totalTokens")
            .and_then(Value::as_u64)
            .unwrap_or(totals.input + totals.output + totals.cache_read + totals.cache_write);
        let Some(cost) = usage.get("cost").and_then(Value::as_object) else {
            totals.missing_cost_entries = 1;
            return Some(totals);
        };
        let dollars = |key: &str| cost.get(key).and_then(Value::as_f64).unwrap_or(0.0);
        totals.input_cost = dollars("input");
        totals.output_cost = dollars("output");
        totals.cache_read_cost = dollars("cacheRead");
        totals.cache_write_cost = dollars("cacheWrite");
        totals.total_cost = cost.get("total").and_then(Value::as_f64).unwrap_or(
            totals.input_cost
                + totals.output_cost
                + totals.cache_read_cost
                + totals.cache_write_cost,
        );
        Some(totals)
    }

    pub fn add(&mut self, other: &Self) {
        self.input += other.input;
        self.output += other.output;
        self.cache_read += other.cache_read;
        self.cache_write += other.cache_write;
        self.total_tokens += other.total_tokens;
        self.total_cost += other.total_cost;
        self.input_cost += other.input_cost;
        self.output_cost += other.output_cost;
        self.cache_read_cost += other.cache_read_cost;
        self.cache_write_cost += other.cache_write_cost;
        self.missing_cost_entries += other.missing_cost_entries;
    }

    pub fn to_map(self) -> Map<String, Value> {
        let value = json!({
            "input": self.input,
            "output": self.output,
            "cacheRead": self.cache_read,
            "cacheWrite": self.cache_write,
            "totalTokens": self.total_tokens,
            "totalCost": number(self.total_cost),
            "inputCost": number(self.input_cost),
            "outputCost": number(self.output_cost),
            "cacheReadCost": number(self.cache_read_cost),
            "cacheWriteCost": number(self.cache_write_cost),
            "missingCostEntries": self.missing_cost_entries,
        });
        match value {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    pub fn to_value(self) -> Value {
        Value::Object(self.to_map())
    }
}

/// A number as JavaScript writes it: `0`, not `0.0`.
pub fn number(value: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "whole and far below 2^53")]
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return json!(value as i64);
    }
    json!(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_without_price_counts_as_missing() {
        let totals = Totals::of_usage(&json!({"input": 3, "output": 4})).unwrap();
        assert_eq!((totals.total_tokens, totals.missing_cost_entries), (7, 1));
        assert_eq!(Totals::of_usage(&Value::Null), None);
    }

    #[test]
    fn whole_numbers_have_no_fraction() {
        assert_eq!(number(0.0).to_string(), "0");
        assert_eq!(number(0.25).to_string(), "0.25");
    }
}
