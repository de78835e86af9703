"""How do methods compare over seeds? Plans the runs, carries them out, summarises them."""
