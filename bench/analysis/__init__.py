"""What stored rows say: boards, gains, who complements whom. Values, no layout."""
