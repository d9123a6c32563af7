//! Rows of numbers, each with its ratio to the first row.

use serde_json::{Map, Value, json};

/// A table that is printed row by row.
pub struct Table {
    json: bool,
    title: String,
    columns: Vec<String>,
    first: Option<Vec<f64>>,
}

const NAME: usize = 34;
const CELL: usize = 18;

impl Table {
    pub fn new(json: bool, title: &str, columns: &[&str]) -> Self {
        if !json {
            print!("\n{title}\n{:NAME$}", "");
            for column in columns {
                print!("{column:>CELL$}");
            }
            println!();
        }
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Self { json, title: title.to_owned(), columns, first: None }
    }

    pub fn row(&mut self, name: &str, cells: &[f64]) {
        if self.json {
            let cells = self.columns.iter().cloned().zip(cells.iter().map(|&cell| json!(cell)));
            let cells: Map<String, Value> = cells.collect();
            println!("{}", json!({"table": self.title, "row": name, "cells": cells}));
            return;
        }
        let first = self.first.get_or_insert_with(|| cells.to_vec());
        print!("{name:NAME$}");
        for (&cell, first) in cells.iter().zip(first) {
            let ratio = if *first > 0.0 { cell / *first } else { 1.0 };
            print!("{:>CELL$}", format!("{cell:.1} ({ratio:.1})"));
        }
        println!();
    }
}
