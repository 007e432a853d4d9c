"""What the commands print, by subject: functions from results to lines and tables. Nothing here prints."""
