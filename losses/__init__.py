"""Objectives for deep metric learning: each public function of a family builds one, without the harness."""

__all__: list[str] = []
